package cat

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/tlv"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestRecorded: a session in which a card opened TLS to its administrator, as a public
// analyser of such traces has it: what the card asked for, and what the terminal answered.
func TestRecorded(t *testing.T) {
	typ, qualifier, to, objects, ok := Parse(unhex(t, "D02A010301400302028182050C4F70656E204368616E6E656C3501033902058E3C030227BE3E0521CA98E02F"))
	require.True(t, ok)
	require.Equal(t, []byte{OpenChannel, 3, Terminal}, []byte{typ, qualifier, to})
	require.Equal(t, []byte{DefaultBearer}, Find(objects, TagBearer))
	require.Equal(t, []byte{0x05, 0x8E}, Find(objects, TagBufferSize))
	require.Equal(t, []byte{TCPClient, 0x27, 0xBE}, Find(objects, TagTransport))
	require.Equal(t, []byte{IPv4, 0xCA, 0x98, 0xE0, 0x2F}, Find(objects, TagOtherAddress))

	opened := unhex(t, "010301400302028281830100B8028100B50103B902058E")
	require.Equal(t, []byte{Done}, Find(opened, TagResult))
	require.Equal(t, []byte{Established | 1, 0}, Find(opened, TagChannel))

	typ, qualifier, to, objects, ok = Parse(unhex(t, "D04C8103014301820281213641160303003C010000380303AA43FAC410B6DABF952A1699E6D3AD1376061AA5E493DE2E1AA01C58964384DF00000A00AE008C008B00B0002C010000050001000101"))
	require.True(t, ok)
	require.Equal(t, []byte{SendData, Immediately, Channel1}, []byte{typ, qualifier, to})
	require.Len(t, Find(objects, TagChannelData), 65)

	typ, _, to, objects, ok = Parse(unhex(t, "D00C810301420082028121370136"))
	require.True(t, ok)
	require.Equal(t, []byte{ReceiveData, Channel1}, []byte{typ, to})
	require.Equal(t, []byte{0x36}, Find(objects, TagDataLength))
}

// TestMade: what is made here, beside what public terminals, cards and their tests have.
func TestMade(t *testing.T) {
	require.Equal(t, unhex(t, "D013810301430182028121B6080001020304050607"), Command(SendData, Immediately, Channel1, Object(nil, TagChannelData, 0, 1, 2, 3, 4, 5, 6, 7)))
	require.Equal(t, unhex(t, "D00C810301420082028121B701C8"), Command(ReceiveData, 0, Channel1, Object(nil, TagDataLength, 0xC8)))
	require.Equal(t, unhex(t, "D009810301410082028121"), Command(CloseChannel, 0, Channel1, nil))
	require.Equal(t, unhex(t, "810301430102028281830100B701FF"), Response(SendData, Immediately, []byte{Done}, Object(nil, TagDataLength, 0xFF)))
	require.Equal(t, unhex(t, "D60E99010982028281B8028100B70103"), Event(DataAvailable, Object(Object(nil, TagChannel, Established|1, 0), TagDataLength, 3)))
	data := make([]byte, 237)
	require.Equal(t, append([]byte{0xB6, 0x81, 0xED}, data...), Object(nil, TagChannelData, data...), "lengths from 128 on in two octets")
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "D0", "D00981030143018202812100", "D10981030141008202812100", "D005810301410000", "D00881020141820281FF", "D00981030141008202" + "8381", "D004810301"} {
		_, _, _, _, ok := Parse(unhex(t, s))
		require.False(t, ok, s)
	}
	require.Nil(t, Find(unhex(t, "8103"), TagDetails))
	require.Equal(t, []byte{}, Find(unhex(t, "8500"), tlv.Tag(5)))
}

// FuzzParse: whatever a card says is a command or none, and what is found in it is in it.
func FuzzParse(f *testing.F) {
	f.Add(unhex(f, "D02A010301400302028182050C4F70656E204368616E6E656C3501033902058E3C030227BE3E0521CA98E02F"))
	f.Add(unhex(f, "D013810301430182028121B6080001020304050607"))
	f.Add(unhex(f, "D60E99010982028281B8028100B70103"))
	f.Add(unhex(f, "D0820005810301420000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, qualifier, to, objects, ok := Parse(b)
		if !ok {
			return
		}
		for tag := range tlv.Tag(0x80) {
			if len(Find(objects, tag)) > len(b) {
				t.Fatal("more than there is")
			}
		}
		if x, y, z, _, ok := Parse(Command(typ, qualifier, to, nil)); !ok || x != typ || y != qualifier || z != to {
			t.Fatal("it is not the same command any more")
		}
	})
}
