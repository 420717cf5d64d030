package process

// selfProgram is our own binary, also when it was replaced or removed since.
const selfProgram = "/proc/self/exe"
