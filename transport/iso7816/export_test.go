package iso7816

import "io"

// PTY makes a pseudo-terminal: our side, and the name of the other.
func PTY() (io.ReadWriteCloser, string, error) { return newPTY("") }

// CCIDFrames are the frames of a serial CCID reader in b.
func CCIDFrames(b []byte) (frames [][]byte) {
	var d ccidFrames
	for _, c := range b {
		if f, _ := d.take(c); f != nil {
			frames = append(frames, append([]byte(nil), f...))
		}
	}
	return frames
}
