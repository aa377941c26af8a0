package inspect_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
)

func sample() *inspect.Report {
	r := &inspect.Report{Kind: "Travel document", Title: "ANNA <b>", Target: "mem:", Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	s := r.Section("Holder")
	s.Add("name", "ERIKSSON\x1b[31m ANNA")
	s.Add("zone", "P<UTO\nL898")
	s.Add("nothing", "")
	s.Pictures = append(s.Pictures, inspect.Picture{Name: "portrait", Type: "image/jpeg", Data: []byte{0xFF, 0xD8}}, inspect.Picture{Name: "odd", Type: "text/html", Data: []byte("<script>")})
	r.Pass("Hash of DG1", "Doc 9303-11 5.1", "it is that of EF.SOD")
	r.Warn("EF.COM", "", "%d groups", 3)
	r.NotDone("Active authentication", "Doc 9303-11 6.1", "the chip has no DG15")
	r.Note("read in %d ms", 12)
	return r
}

func TestText(t *testing.T) {
	var b strings.Builder
	require.NoError(t, sample().Text(&b))
	require.Equal(t, `Travel document: ANNA <b>

Holder
  name  ERIKSSON·[31m ANNA
  zone  P<UTO
        L898
  portrait: image/jpeg, 2 bytes
  odd: text/html, 8 bytes

Checks
  ok    Hash of DG1: it is that of EF.SOD (Doc 9303-11 5.1)
  warn  EF.COM: 3 groups
  -     Active authentication: the chip has no DG15 (Doc 9303-11 6.1)
  note  read in 12 ms

genuine as far as it could be checked, with warnings: 1 passed, 1 warning, 1 not done
`, b.String())
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	require.NoError(t, sample().JSON(&b))
	var d struct {
		Schema int
		Result string
		Checks []inspect.Check
	}
	require.NoError(t, json.Unmarshal([]byte(b.String()), &d))
	require.Equal(t, 1, d.Schema)
	require.Equal(t, "pass", d.Result)
	require.Len(t, d.Checks, 3)
	require.Contains(t, b.String(), `"data": "/9g="`)
}

func TestHTML(t *testing.T) {
	var b strings.Builder
	require.NoError(t, sample().HTML(&b))
	s := b.String()
	require.Contains(t, s, `src="data:image/jpeg;base64,/9g="`)
	require.Contains(t, s, "ANNA &lt;b&gt;")
	require.NotContains(t, s, "data:text/html")
	require.NotContains(t, s, "\x1b")
	require.NotContains(t, s, "ZgotmplZ")
}

func TestVerdict(t *testing.T) {
	r := sample()
	require.True(t, r.OK())
	require.NoError(t, r.Failed())
	require.False(t, r.Is(errors.New("it is another one"), "Hash of DG2", "Doc 9303-11 5.1", "it is that of EF.SOD"))
	require.False(t, r.OK())
	require.EqualError(t, r.Failed(), "Hash of DG2: it is another one (Doc 9303-11 5.1)")
	require.Contains(t, r.Verdict(), "NOT genuine")
	require.Error(t, (&inspect.Report{}).Failed())
	c, ok := r.Find("EF.COM")
	require.True(t, ok)
	require.Equal(t, inspect.Warning, c.Result)
}
