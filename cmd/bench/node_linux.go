package main

const nodeInstances = 100

func (o options) node() error     { return nil }
func (o options) allPeers() error { return nil }
