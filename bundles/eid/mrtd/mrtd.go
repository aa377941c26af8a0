// Package mrtd is the chip of a travel document: the files, who may read them, and the
// protocols by which chip and terminal show each other who they are.
//
//	eid.App ── plain commands ──> Card ── READ BINARY ──> NVM
//	   │                           │
//	   └─ Unwrap, Wrap <── Session ┴─ BAC, PACE ──> chip authentication ──> terminal authentication
//
// Secure messaging is unwrapped before a command comes here, and the answer wrapped after
// it (eid.App): the session that a protocol begins is for the next command.
//
// Sources: ICAO Doc 9303-10 3.6 (files, commands), 9303-11 4 (access), 6 (chip), 7
// (terminal), BSI TR-03110-1 and -3. (LEAD writes this package; helper CHIP: look at what is missing.)
package mrtd
