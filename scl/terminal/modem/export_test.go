package modem

import "io"

// Greeting is how long a modem may take for its first answers.
const Greeting = greeting

// Attach is a TE whose modem has been greeted.
func Attach(rw io.ReadWriteCloser) *TE { return &TE{rw: rw} }
