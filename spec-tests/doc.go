// Package spectests is the conformance suite of sspemu: cases that are data,
// named after the clauses of the standards, and a runner that plays them over
// any terminal.
//
//	suites/*.yaml ──> Load ──> Suite, Case ──┐
//	                                         ├──> Run ──> Report ──> table, JSON, JUnit, HTML
//	Target: Terminal, Network, Platform ─────┘
//
// The result of a case is pass, fail (with the dialogue up to the step that
// failed), provisional (it passed, but an unverified code point decides it) or
// not covered (a clause without a case, or a case that this target cannot play).
// docs/conformance.md tells how to read and write cases.
package spectests
