package portrait

import _ "embed" // the file below

//go:generate go test -run JPEG2000 -update .

// specimen is one drawing in JPEG 2000, which no library at hand can write: JPEG2000
// says which. opj_compress made it.
//
//go:embed specimen.jp2
var specimen []byte

// JPEG2000 is the one portrait that there is as a file of JPEG 2000, and the file.
func JPEG2000() (*Portrait, []byte) { return New([]byte("jpeg2000"), "F"), specimen }
