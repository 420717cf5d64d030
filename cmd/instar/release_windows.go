package main

// defaultRelease is where software is.
const defaultRelease = `C:\Program Files`
