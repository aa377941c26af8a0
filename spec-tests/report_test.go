package spectests

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// scripted is a terminal that gives the same answers every time.
type scripted map[string]string

func (s scripted) Reset(context.Context, bool) ([]byte, error) { return []byte{0x3B, 0x00}, nil }

func (s scripted) Transmit(_ context.Context, c, dst []byte) ([]byte, error) {
	r, ok := s[upper(c)]
	if !ok {
		return nil, errors.New("the cable is out")
	}
	return append(dst, unhex(r)...), nil
}

// reportOf plays a suite in which every outcome comes up.
func reportOf(t *testing.T) *Report {
	s, err := Parse("x.yaml", []byte(head+`
  - {id: good, clause: "1", title: it works, requirement: R1, steps: [{send: "00A40000", sw: "61??"}, {send: "00C00000{sw2}", expect: "01 *"}]}
  - {id: bad, clause: "1", title: "it answers <1>", steps: [{send: "00A40000", sw: "61??"}, {send: "00C0000005", expect: "01020304 06"}]}
  - {id: silent, clause: "1", title: it answers, given: [], steps: [{send: "00FF0000"}]}
  - {id: guess, clause: "1", title: it is as we think, provisional: nobody has read the text, steps: [{send: "00C0000005"}]}
  - {id: key, clause: "1", title: it needs a key, steps: [{send: "{k}"}]}
`))
	require.NoError(t, err)
	target := &Target{Name: "a card", Terminal: scripted{"00A40000": "6105", "00C0000005": "01020304059000"}}
	r, err := Run(context.Background(), target, []*Suite{s}, nil)
	require.NoError(t, err)
	for i := range r.Suites[0].Results {
		r.Suites[0].Results[i].Duration = 0
	}
	return r
}

func TestReport(t *testing.T) {
	r := reportOf(t)
	require.False(t, r.OK())
	require.Equal(t, "1 pass, 2 fail, 1 provisional, 2 not covered", r.Summary())
	for file, write := range map[string]func(*bytes.Buffer) error{
		"report.txt":  func(b *bytes.Buffer) error { return r.WriteTable(b, true) },
		"report.json": func(b *bytes.Buffer) error { return r.WriteJSON(b) },
		"report.xml":  func(b *bytes.Buffer) error { return r.WriteJUnit(b) },
		"report.html": func(b *bytes.Buffer) error { return r.WriteHTML(b) },
	} {
		t.Run(file, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, write(&b))
			if *update {
				require.NoError(t, os.WriteFile("testdata/"+file, b.Bytes(), 0o644))
			}
			want, err := os.ReadFile("testdata/" + file)
			require.NoError(t, err)
			require.Equal(t, string(want), b.String())
		})
	}
	var b bytes.Buffer
	require.NoError(t, r.WriteTable(&b, false))
	require.NotContains(t, b.String(), "it works")

	b.Reset()
	require.NoError(t, r.WriteJSON(&b))
	var back Report
	require.NoError(t, json.Unmarshal(b.Bytes(), &back))
	require.Equal(t, *r, back)

	b.Reset()
	require.NoError(t, r.WriteJUnit(&b))
	var suites junitSuites
	require.NoError(t, xml.Unmarshal(b.Bytes(), &suites))
	require.Equal(t, 2, suites.Failures)
}

// TestRunStops: a run that is cancelled gives what it has.
func TestRunStops(t *testing.T) {
	s, err := Parse("x.yaml", []byte(head+`
  - {id: a, clause: "1", title: t, steps: [{reset: warm}]}
  - {id: b, clause: "1", title: u, steps: [{reset: warm}]}
`))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r, err := Run(ctx, &Target{Terminal: scripted{}}, []*Suite{s}, func(*Suite, Result) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stopped at x/b")
	require.Len(t, r.Suites[0].Results, 1)
}

// TestFinally: what a case puts back is put back when it fails, and does not
// show in the dialogue.
func TestFinally(t *testing.T) {
	s, err := Parse("x.yaml", []byte(head+`
  - {id: a, clause: "1", title: t, steps: [{send: "01"}], finally: [{send: "02"}, {send: "03"}]}
`))
	require.NoError(t, err)
	var sent []string
	spy := brokenTerminal{Terminal: scripted{"01": "6F00", "03": "9000"}, send: func(c []byte) []byte {
		sent = append(sent, upper(c))
		return c
	}}
	r, err := Run(context.Background(), &Target{Terminal: spy}, []*Suite{s}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"01", "02", "03"}, sent)
	res := r.Suites[0].Results[0]
	require.Equal(t, Fail, res.Outcome)
	require.Equal(t, "status 6F00 (technical problem, no diagnosis), expected 9000 (x.yaml:8)", res.Reason)
	require.Len(t, res.Dialogue, 4)
}
