package scp80

// Checks are CRC-16 and CRC-32 of b.
func Checks(b []byte) []uint32 {
	x, _ := check(RC, CRC16, nil, b)
	y, _ := check(RC, CRC32, nil, b)
	return []uint32{uint32(x[0])<<8 | uint32(x[1]), uint32(y[0])<<24 | uint32(y[1])<<16 | uint32(y[2])<<8 | uint32(y[3])}
}
