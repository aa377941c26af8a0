package sdk

import "strconv"

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// NVM is the non-volatile memory of the bundle: a map from keys of 1 to 255
// bytes to values, within the quota of the bundle. See docs/abi.md.
var NVM nvm

type nvm struct{}

// Get returns a copy of the value of key; ok is false when there is none.
func (nvm) Get(key string) (val []byte, ok bool) {
	n := hostGet(key, 0, nil)
	if n < 0 {
		return nil, false
	}
	val = make([]byte, n)
	hostGet(key, 0, val)
	return val, true
}

// Read copies the value of key from offset off into dst and returns how many
// bytes it copied. It does not allocate. ErrUnknownID: there is no such key.
func (nvm) Read(key string, off int, dst []byte) (n int, err error) {
	size := int(hostGet(key, off, dst))
	if size < 0 {
		return 0, Error(-size)
	}
	return min(len(dst), max(size-off, 0)), nil
}

// Size is the length of the value of key; ok is false when there is none.
func (nvm) Size(key string) (n int, ok bool) {
	n = int(hostGet(key, 0, nil))
	return max(n, 0), n >= 0
}

// Put stores val under key, in place of what was there.
func (nvm) Put(key string, val []byte) error { return check(hostPut(key, val)) }

// Write overwrites part of an existing value, from offset off; it does not make
// it longer.
func (nvm) Write(key string, off int, p []byte) error { return check(hostWrite(key, off, p)) }

// Delete removes key. ErrUnknownID: there is no such key.
func (nvm) Delete(key string) error { return check(hostDelete(key)) }

// Next returns the key that follows key in ascending order of bytes; "" starts
// at the first. ok is false after the last.
func (nvm) Next(key string) (next string, ok bool) {
	var buf [256]byte
	n := hostNext(key, buf[:])
	if n <= 0 {
		return "", false
	}
	return string(buf[:n]), true
}

// Commit stores now what this call has written so far; a power cut or a fault
// later in the call does not undo it.
func (nvm) Commit() error { return check(hostCommit()) }

// Rollback drops what this call has written since the last Commit.
func (nvm) Rollback() { hostRollback() }

func check(r int32) error {
	if r < 0 {
		return Error(-r)
	}
	return nil
}

// Now is the time since the platform started, in ticks of one millisecond.
func Now() int64 { return hostTime() }

// Random fills p with random bytes of the platform.
func Random(p []byte) { hostRandom(p) }

// ModExp sets dst to base^exp mod m, computed by the platform. All are big-endian and m
// is odd; dst is as long as m, base is below it. ErrIllegalParameter: something else,
// or more than 4096 bits.
func ModExp(dst, base, exp, m []byte) error {
	if len(dst) != len(m) {
		return ErrIllegalParameter
	}
	return check(hostModExp(dst, base, exp, m))
}

// GenerateRSA makes the primes of an RSA key of exactly bits bits, 512 to 4096, with
// the public exponent e; p > q. The same seed, of 256 bytes at most, gives the same key
// for ever; without one, random bytes of the platform are the seed.
func GenerateRSA(seed []byte, bits int, e uint32) (p, q []byte, err error) {
	n := ((bits+1)/2 + 7) / 8
	if n <= 0 || n > 256 {
		return nil, nil, ErrIllegalParameter
	}
	b := make([]byte, 2*n)
	if err := check(hostRSA(seed, bits, e, b)); err != nil {
		return nil, nil, err
	}
	return b[:n:n], b[n:], nil
}

// Keys of elliptic curves, computed by the platform. Curves have the numbers of
// standardized domain parameters (BSI TR-03110-3 table 4): 12 P-256, 13 brainpoolP256r1,
// 15 P-384, 16 brainpoolP384r1, 17 brainpoolP512r1, 18 P-521; also 10, 11 and 14. Points
// are 04 || X || Y. ErrIllegalParameter: an unknown curve, a key or a point that is none,
// or dst of another length than the result.

// ECPublic sets dst to the public key of a private one.
func ECPublic(curve int, dst, key []byte) error { return check(hostECPublic(curve, key, dst)) }

// ECDH sets dst to the x coordinate of key times point.
func ECDH(curve int, dst, key, point []byte) error {
	return check(hostECDH(curve, key, point, dst))
}

// ECSign sets dst to r || s of ECDSA with the nonce of RFC 6979; a digest has 20, 28, 32,
// 48 or 64 bytes.
func ECSign(curve int, dst, key, digest []byte) error {
	return check(hostECSign(curve, key, digest, dst))
}

// ECVerify tells whether sig is r || s by the private key of point.
func ECVerify(curve int, point, digest, sig []byte) (bool, error) {
	n := hostECVerify(curve, point, digest, sig)
	return n == 1, check(n)
}

// Level of a log line.
type Level int32

// Levels of log (docs/abi.md).
const (
	Debug Level = 0
	Info  Level = 1
	Warn  Level = 2
	Fault Level = 3
)

// Log writes a line to the log of the platform, within the bundle's quota.
func Log(l Level, msg string) { hostLog(int32(l), msg) }

// Event tells the outside that something happened in the bundle. name is short
// and stable ("pin.blocked"); data may be nil.
func Event(name string, data []byte) { hostEvent(name, data) }

// SSPClass is the class of SSP that the platform is: 0 integrated, 1 embedded type 1,
// 2 embedded type 2, 3 removable (SSPClass of ETSI TS 103 666-1).
func SSPClass() int { return int(hostClass()) }
