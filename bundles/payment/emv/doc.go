// Package emv knows the data elements of EMV: data object lists, which card and
// terminal both use, and the dictionary of tags and words for people.
//
//	card     ParseDOL, Length, Find     what the terminal sent
//	terminal ParseDOL, Fill             what the card asked for
//	people   Lookup, Words, Lines       what a value means; a PAN is masked always
//
// dol.go is for guests: it allocates no more than its result, and a guest that uses
// nothing else carries none of the names and words.
//
// Sources: EMV 4.4 Book 1 annex B, Book 3 clause 5.4 and annexes A to C, Book 4 annex A.
package emv
