// Package tty opens serial devices raw, and makes pseudo-terminals, which are serial
// devices whose other end is a program.
package tty
