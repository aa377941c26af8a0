package telecom

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// ask carries out an instruction at the file system gate.
func ask(c *sdktest.Card, instruction byte, in ...byte) ([]byte, error) {
	return c.Bundle().Message(sdk.GateFiles, 0, instruction, in)
}

// at is path, offset and length or data as the gate codes them.
func at(path string, off int, rest ...byte) []byte {
	b := append([]byte{byte(len(path) >> 8), byte(len(path))}, path...)
	return append(append(b, 0, 0, byte(off>>8), byte(off)), rest...)
}

func TestFiles(t *testing.T) {
	c := newCard(t, "persona.yaml")
	const usim = "/ADF.A0000000871002FF49FF05890000FF01"
	list := func(path string) string {
		b, err := ask(c, sdk.FileList, []byte(path)...)
		require.NoError(t, err, path)
		return string(b)
	}
	require.Contains(t, list("/"), "\x02\x00\x00\x00\x0A\x042FE2", "EF.ICCID: can be read")
	require.Contains(t, list("/"), "\x03\x00\x00\x00\x00\x24"+usim[1:], "a directory")
	require.Contains(t, list(usim), "\x00\x00\x00\x00\x09\x046F07", "EF.IMSI: not without PIN")
	for _, tt := range []struct {
		name        string
		instruction byte
		in          []byte
		want        string
		err         error
	}{
		{"ICCID", sdk.FileRead, at("/2FE2", 0, 0, 0, 0, 255), hexBytes(t, "980001010000000000F1"), nil},
		{"a part", sdk.FileRead, at("/2FE2", 8, 0, 0, 0, 1), hexBytes(t, "00"), nil},
		{"at the end", sdk.FileRead, at("/2FE2", 10, 0, 0, 0, 1), "", nil},
		{"behind it", sdk.FileRead, at("/2FE2", 11, 0, 0, 0, 1), "", sdk.ErrIllegalParameter},
		{"IMSI", sdk.FileRead, at(usim+"/6F07", 0, 0, 0, 0, 9), "", sdk.ErrAccessDenied},
		{"no such EF", sdk.FileRead, at("/2FFF", 0, 0, 0, 0, 9), "", sdk.ErrUnknownID},
		{"in an EF", sdk.FileRead, at("/2FE2/2FE2", 0, 0, 0, 0, 9), "", sdk.ErrUnknownID},
		{"a directory", sdk.FileRead, at("/", 0, 0, 0, 0, 9), "", sdk.ErrIllegalParameter},
		{"not a path", sdk.FileRead, at("2FE2", 0, 0, 0, 0, 9), "", sdk.ErrUnknownID},
		{"list an EF", sdk.FileList, []byte("/2FE2"), "", sdk.ErrIllegalParameter},
		{"list nothing", sdk.FileList, []byte("/7777"), "", sdk.ErrUnknownID},
		{"write what may not be", sdk.FileWrite, at("/2FE2", 0, 1), "", sdk.ErrAccessDenied},
		{"cut short", sdk.FileRead, []byte{0, 9, '/'}, "", sdk.ErrIllegalParameter},
		{"unknown", 9, at("/2FE2", 0, 0, 0, 0, 1), "", sdk.ErrIllegalParameter},
	} {
		got, err := ask(c, tt.instruction, tt.in...)
		require.ErrorIs(t, err, tt.err, tt.name)
		if tt.err == nil {
			require.Equal(t, tt.want, string(got), tt.name)
		}
	}

	// Who has verified PIN1 by APDU gives nobody else a right, and loses none.
	c.Transmit("00A4040C10 A0000000871002FF49FF05890000FF01")
	require.Equal(t, "9000", c.Transmit("0020000108 31323334FFFFFFFF"))
	c.Transmit("00A4000C02 6F07")
	imsi := c.Transmit("00B0000009")
	require.True(t, strings.HasSuffix(imsi, "9000"), imsi)
	_, err := ask(c, sdk.FileRead, at(usim+"/6F07", 0, 0, 0, 0, 9)...)
	require.ErrorIs(t, err, sdk.ErrAccessDenied)
	require.Equal(t, imsi, c.Transmit("00B0000009"))
	// A PIN that is switched off asks nobody.
	require.Equal(t, "9000", c.Transmit("0026000108 31323334FFFFFFFF"))
	got, err := ask(c, sdk.FileRead, at(usim+"/6F07", 0, 0, 0, 0, 9)...)
	require.NoError(t, err)
	require.Equal(t, hexBytes(t, imsi[:18]), string(got))
	// Then EF.LI can be written, and an APDU reads it.
	_, err = ask(c, sdk.FileWrite, at(usim+"/6F05", 0, 'f', 'r')...)
	require.NoError(t, err)
	_, err = ask(c, sdk.FileWrite, at(usim+"/6F05", 0, make([]byte, 999)...)...)
	require.ErrorIs(t, err, sdk.ErrIllegalParameter)
	c.Transmit("00A4000C02 6F05")
	require.Equal(t, "66729000", c.Transmit("00B0000002"))
}

func hexBytes(t *testing.T, s string) string {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return string(b)
}
