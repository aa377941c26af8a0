package scp80_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/scp80"
)

// TestScripts: the examples of osmocom/pysim, tests/unittests/test_ota.py, and the
// response that A recorded.
func TestScripts(t *testing.T) {
	a, b := unhex(t, "80f24002024f0000"), unhex(t, "00a40004023f0000")
	for _, c := range []struct {
		form     scp80.Form
		commands [][]byte
		want     string
	}{
		{scp80.Definite, [][]byte{a}, "aa0a220880f24002024f0000"},
		{scp80.Definite, [][]byte{a, b}, "aa14220880f24002024f0000220800a40004023f0000"},
		{scp80.Indefinite, [][]byte{a, b}, "ae80220880f24002024f0000220800a40004023f00000000"},
		{scp80.Compact, [][]byte{a, b}, "80f24002024f000000a40004023f0000"},
	} {
		script := scp80.Script(c.form, c.commands...)
		require.Equal(t, c.want, hex.EncodeToString(script))
		require.Equal(t, c.form, scp80.FormOf(script))
		if c.form == scp80.Compact {
			continue
		}
		w := scp80.Expanded(script)
		for _, x := range c.commands {
			require.Equal(t, x, w.Next())
		}
		require.Nil(t, w.Next())
		require.Zero(t, w.Bad)
	}
	for _, c := range []struct {
		form   scp80.Form
		result scp80.Result
		want   string
	}{
		{scp80.Definite, scp80.Result{Executed: 1, Responses: [][]byte{{0x61, 0x32}}}, "ab0780010123026132"},
		{scp80.Definite, scp80.Result{Executed: 1, Bad: scp80.BadTag}, "ab06800101900101"},
		{scp80.Indefinite, scp80.Result{Executed: 1, Responses: [][]byte{{0x90, 0}}}, "af80230290000000"},
		{scp80.Compact, scp80.Result{Executed: 1, Responses: [][]byte{unhex(t, "E012C00401018210C00402018210C004030182109000")}}, "019000e012c00401018210c00402018210c00403018210"},
		{scp80.Compact, scp80.Result{}, "00"},
	} {
		require.Equal(t, c.want, hex.EncodeToString(c.result.Append(nil, c.form)))
		back, err := scp80.ParseResult(unhex(t, c.want), c.form)
		require.NoError(t, err)
		require.Equal(t, c.result, back)
	}
}

func TestBadScripts(t *testing.T) {
	for script, want := range map[string]scp80.BadFormat{
		"aa": scp80.BadLength, "aa05": scp80.BadLength, "aa0122": scp80.LengthNotFound, "aa022205": scp80.BadLength, "aa023300": scp80.BadTag,
		"ae80": scp80.LengthNotFound, "ae0a": scp80.BadLength, "ae8000": scp80.BadTag, "ae80220190": scp80.LengthNotFound, "aa00ff": scp80.BadLength,
	} {
		w := scp80.Expanded(unhex(t, script))
		for w.Next() != nil {
		}
		require.Equal(t, want, w.Bad, script)
	}
	for f, l := range map[scp80.Form][]string{
		scp80.Definite: {"", "ab", "ab03800101ff", "af800000", "ab0223"}, scp80.Indefinite: {"", "ab00", "af80", "af8023010000"}, scp80.Compact: {"", "0190"},
	} {
		for _, b := range l {
			r, err := scp80.ParseResult(unhex(t, b), f)
			if err == nil {
				require.Empty(t, r.Responses, b)
				continue
			}
			require.ErrorIs(t, err, scp80.ErrResult, b)
		}
	}
}

// FuzzScript: scripts and results of any form are read without a panic.
func FuzzScript(f *testing.F) {
	for _, s := range []string{"aa0a220880f24002024f0000", "ae80220880f24002024f00000000", "ab0780010123026132", "af80230290000000", "ab06800101900101"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := scp80.Expanded(b)
		n := 0
		for w.Next() != nil {
			n++
		}
		require.LessOrEqual(t, n, len(b))
		for _, form := range []scp80.Form{scp80.Compact, scp80.Definite, scp80.Indefinite} {
			_, _ = scp80.ParseResult(b, form)
		}
	})
}
