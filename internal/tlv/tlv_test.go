package tlv_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/tlv"
)

func TestNext(t *testing.T) {
	long := bytes.Repeat([]byte{0x55}, 300)
	for _, c := range []struct {
		name  string
		in    string
		tag   tlv.Tag
		value string
		rest  string
		err   error
	}{
		{"empty", "", 0, "", "", nil},
		{"filling only", "\x00\x00", 0, "", "", nil},
		{"short", "\x80\x02\x01\x02", 0x80, "\x01\x02", "", nil},
		{"no value", "\x8A\x00\x01", 0x8A, "", "\x01", nil},
		{"filling before", "\x00\x00\x83\x02\x3F\x00\xFF", 0x83, "\x3F\x00", "\xFF", nil},
		{"two-byte tag", "\x9F\x27\x01\x40", 0x9F27, "\x40", "", nil},
		{"three-byte tag", "\xDF\x81\x01\x00", 0xDF8101, "", "", nil},
		{"private two-byte tag", "\xFF\x21\x01\x07", 0xFF21, "\x07", "", nil},
		{"length 81", "\x04\x81\x01\x07", 0x04, "\x07", "", nil},
		{"length 82", "\x04\x82\x01\x2C" + string(long), 0x04, string(long), "", nil},
		{"length 84", "\x04\x84\x00\x00\x00\x01\x07", 0x04, "\x07", "", nil},
		{"value missing", "\x80\x02\x01", 0, "", "", tlv.ErrShort},
		{"length missing", "\x80", 0, "", "", tlv.ErrShort},
		{"length incomplete", "\x80\x82\x01", 0, "", "", tlv.ErrShort},
		{"tag incomplete", "\x9F", 0, "", "", tlv.ErrShort},
		{"tag incomplete after two", "\x9F\x81", 0, "", "", tlv.ErrShort},
		{"tag too long", "\xFF\xFF\xFF\xFF\xFF", 0, "", "", tlv.ErrTag},
		{"tag not minimal", "\x9F\x80\x01\x00", 0, "", "", tlv.ErrTag},
		{"indefinite", "\x30\x80\x00\x00", 0, "", "", tlv.ErrLength},
		{"length of five bytes", "\x30\x85\x00\x00\x00\x00\x01\x01", 0, "", "", tlv.ErrLength},
		{"length that overflows", "\x30\x84\xFF\xFF\xFF\xFF\x01", 0, "", "", tlv.ErrShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			tag, value, rest, err := tlv.Next([]byte(c.in))
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.tag, tag)
			require.Equal(t, c.value, string(value))
			require.Equal(t, c.rest, string(rest))
		})
	}
}

// fcp is the answer to SELECT MF of a UICC.
var fcp = []byte("\x62\x15\x82\x02\x78\x21\x83\x02\x3F\x00\xA5\x03\x80\x01\x71\x8A\x01\x05\xC6\x03\x90\x01\x80")

func TestFindAndWalk(t *testing.T) {
	v, err := tlv.Path(fcp, 0x62, 0xA5, 0x80)
	require.NoError(t, err)
	require.Equal(t, []byte{0x71}, v)
	_, err = tlv.Path(fcp, 0x62, 0xA6)
	require.ErrorIs(t, err, tlv.ErrNotFound)
	_, err = tlv.Find([]byte{0x80, 0x05, 1}, 0x80)
	require.ErrorIs(t, err, tlv.ErrShort)

	v, err = tlv.Find(fcp, 0x62)
	require.NoError(t, err)
	var tags []tlv.Tag
	r := tlv.Read(v)
	for r.Next() {
		tags = append(tags, r.Tag)
	}
	require.NoError(t, r.Err())
	require.Equal(t, []tlv.Tag{0x82, 0x83, 0xA5, 0x8A, 0xC6}, tags)

	r = tlv.Read([]byte{0x80, 0x00, 0x81, 0x01})
	require.True(t, r.Next())
	require.False(t, r.Next())
	require.False(t, r.Next())
	require.ErrorIs(t, r.Err(), tlv.ErrShort)
}

func TestConstructed(t *testing.T) {
	for _, tag := range []tlv.Tag{0x62, 0xA5, 0x7F49, 0xFF21, 0x30, 0xBF0C} {
		require.True(t, tag.Constructed(), "%X", tag)
	}
	for _, tag := range []tlv.Tag{0x82, 0x04, 0x9F27, 0xDF8101, 0x5F2D} {
		require.False(t, tag.Constructed(), "%X", tag)
	}
}

func TestAppend(t *testing.T) {
	require.Equal(t, []byte{0x80, 0x02, 1, 2}, tlv.Append(nil, 0x80, 1, 2))
	require.Equal(t, []byte{0xDF, 0x81, 0x01, 0x00}, tlv.Append(nil, 0xDF8101))
	for _, n := range []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1<<24 - 1, 1 << 24} {
		v := make([]byte, n)
		b := tlv.Append([]byte("x"), 0x9F27, v...)
		tag, got, rest, err := tlv.Next(b[1:])
		require.NoError(t, err)
		require.Equal(t, tlv.Tag(0x9F27), tag)
		require.Len(t, got, n)
		require.Empty(t, rest)

		out, mark := tlv.Begin([]byte("x"), 0x9F27)
		require.Equal(t, b, tlv.End(append(out, v...), mark), "Begin and End make the same, %d bytes", n)
	}
}

func TestTemplatesNest(t *testing.T) {
	big := bytes.Repeat([]byte{7}, 200)
	b, outer := tlv.Begin(nil, 0x62)
	b = tlv.Append(b, 0x82, 0x78, 0x21)
	b, inner := tlv.Begin(b, 0xA5)
	b = tlv.Append(b, 0x80, big...)
	b = tlv.End(b, inner)
	b = tlv.Append(b, 0x8A, 0x05)
	b = tlv.End(b, outer)
	v, err := tlv.Path(b, 0x62, 0xA5, 0x80)
	require.NoError(t, err)
	require.Equal(t, big, v)
	v, err = tlv.Path(b, 0x62, 0x8A)
	require.NoError(t, err)
	require.Equal(t, []byte{0x05}, v)
}

func TestNoAllocation(t *testing.T) {
	dst := make([]byte, 0, 256)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		v, _ := tlv.Path(fcp, 0x62, 0xA5)
		for r := tlv.Read(v); r.Next(); {
			b, mark := tlv.Begin(dst, r.Tag)
			b = tlv.Append(b, r.Tag, r.Value...)
			tlv.End(b, mark)
		}
	}))
}

// Whatever is read is a part of the input, and what is appended again reads the
// same.
func FuzzNext(f *testing.F) {
	f.Add(fcp)
	f.Add([]byte("\x00\x9F\x27\x81\x01\x40\x30\x80"))
	f.Add([]byte("\xFF\xFF\xFF\xFF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		n := 0
		r := tlv.Read(b)
		for r.Next() {
			n++
			require.LessOrEqual(t, len(r.Value), len(b))
			again = tlv.Append(again, r.Tag, r.Value...)
		}
		require.LessOrEqual(t, len(again), len(b), "the shortest form is not longer")
		second := tlv.Read(again)
		for first := tlv.Read(b); first.Next(); n-- {
			require.True(t, second.Next())
			require.Equal(t, first.Tag, second.Tag)
			require.Equal(t, first.Value, second.Value)
		}
		require.False(t, second.Next())
		require.NoError(t, second.Err())
		require.Zero(t, n)
	})
}
