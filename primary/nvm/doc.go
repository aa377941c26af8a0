// Package nvm is the non-volatile memory of the platform: one transactional
// key/value store for all bundles, in a directory.
//
//	bundle ── nvm_put, mk_commit ──> vm ──> Partition  (one for each bundle, quota)
//	primary ── records ────────────────────> Registry   (the same, without quota)
//	primary ── packages ───────────────────> files      (whole, named by their SHA-256)
//	                                            │
//	directory   state.db     bbolt: one bucket for each partition
//	            holder.json  who has the directory open
//	            packages/    the files
//
// # Transactions
//
//	      Put, WriteAt, Delete, Wipe
//	    ┌──────────────────────────────┐
//	    v                              │
//	┌───────┐                      ┌───────┐
//	│ clean │                      │ open  │ Get and Next see the changes
//	└───────┘                      └───────┘
//	    ^    Commit: one transaction   │
//	    │    of bbolt, on disk when it │
//	    │    returns                   │
//	    ├──────────────────────────────┤
//	    └──── Rollback: as before ─────┘
//
// A Commit that fails leaves the transaction open and what is on disk as it was;
// Rollback then makes memory agree with the disk. A power cut at any point leaves
// the state of the last Commit that returned, or the one that was under way,
// whole. Every value carries a checksum: a damaged file is an error that says
// what to do, never a wrong value.
//
// Committed values are kept in memory, so that reading never touches the disk.
//
// The lock on the directory is the one bbolt takes on its file; it goes with the
// process, however that ends.
//
// Commit and rollback are those of GlobalPlatform VPP (_mk_Commit,
// _mk_RollBack); errors that a bundle sees are vpp.Errno.
package nvm
