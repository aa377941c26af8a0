package web

import "runtime/debug"

// softMemory leaves room in the 16 MiB of a guest for the data of the program and
// for what is allocated while the collector cannot run (chosen).
const softMemory = 9 << 20

func init() { debug.SetMemoryLimit(softMemory) }
