package coap

// Transmission parameters of RFC 7252 4.8, in ticks of one millisecond.
const (
	ackTimeout       = 2000
	ackRandomSpread  = ackTimeout / 2 // ACK_RANDOM_FACTOR 1.5
	maxRetransmit    = 4
	exchangeLifetime = 247_000
)

// confirmAtLeast: once in so many ticks a notification is confirmable (RFC 7641
// 4.5: every 24 hours).
const confirmAtLeast = 24 * 3600 * 1000

// What the server remembers at most; all of it chosen for a guest of 16 MiB.
const (
	// MaxBody is how long a body may be that a client sends in blocks, in octets,
	// unless a Resource says less.
	MaxBody = 256 << 10
	// MaxObservers is how many relations there may be; a client beyond is answered
	// as if it had not asked to observe (RFC 7641 4.1).
	MaxObservers = 4096

	maxOptions       = 64      // of one message
	maxTransfers     = 64      // bodies under way, in both directions
	maxTransferBytes = 1 << 20 // of them together
	staleTransfer    = 60_000  // ticks without a block, after which a body that came in gives way to another
	maxReads         = 256     // answers to GET kept for duplicates
	maxWrites        = 2048    // answers to the other methods, likewise
	maxSeparate      = 256     // separate responses that wait for their acknowledgement
	confirmEvery     = 16      // every so manieth notification is confirmable
)

// maxSZX is the largest block size, 1024 octets (RFC 7959 2.2); a message stays
// below the 1280 octets of an IPv6 packet (RFC 7252 4.6).
const maxSZX = 6
