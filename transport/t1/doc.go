// Package t1 is the block protocol of smart cards in its two forms: T=1 over the
// contacts of ISO/IEC 7816-3 and T=1' over SPI and I2C, and the link that speaks
// T=1' on a bus.
//
//	transport.Link            APDUs, ATR, power
//	  │ NewController, NewTarget (T=1')      iso7816 (T=1, on characters)
//	  ▼                                        ▼
//	Engine                    chaining, sequence numbers, S-blocks, recovery; no I/O
//	  │
//	Format                    NAD PCB LEN INF EDC <-> Block
//	  ▼                                        ▼
//	bus.Controller, bus.Socket               characters, guard and waiting times
//
// An Engine is one end of the protocol. It is fed blocks, APDUs and timeouts, and
// says by an Action what is to be done: transmit this block, wait that long,
// deliver this APDU. It has no clock and no goroutine, and allocates nothing once
// its buffers have grown.
//
// Sources: ISO/IEC 7816-3:2006 clause 11 (T=1, the numbers of its rules are quoted
// in the code); GlobalPlatform GPC_SPE_172 (T=1') as public drivers show it. What
// no source at hand settles is marked unverified.
package t1
