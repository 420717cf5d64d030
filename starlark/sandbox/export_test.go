package sandbox

// HardMemory is hardMemory.
const HardMemory = hardMemory
