package spectests

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTemplate(t *testing.T) {
	vars := map[string]string{"aid": "a0000000871002", "empty": ""}
	for _, c := range []struct{ in, want, err string }{
		{"00 a4 0400", "00A40400", ""},
		{"00A40404 {aid:lv} 00", "00A4040407A000000087100200", ""},
		{"{aid:len}", "07", ""},
		{"{aid:3}FF", "A00000FF", ""},
		{"{empty:lv}", "00", ""},
		{"{aid:9}", "", "{aid} has 7 bytes, 9 are asked for"},
		{"{nobody}", "", "nothing has set {nobody}"},
	} {
		tpl, err := parseTemplate(c.in, false)
		require.NoError(t, err, c.in)
		got, err := tpl.bytes(vars)
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, upper(got), c.in)
	}
}

func TestPattern(t *testing.T) {
	vars := map[string]string{"id": "3F00"}
	for _, c := range []struct {
		pattern, data string
		ok            bool
	}{
		{"", "", true},
		{"", "00", false},
		{"*", "", true},
		{"*", "0102", true},
		{"62??83", "621083", true},
		{"62??83", "6210", false},
		{"62??83", "62108300", false},
		{"6?", "6F", true},
		{"6?", "7F", false},
		{"?2 *", "82 01 02", true},
		{"83 02 {id}", "83023F00", true},
		{"83 02 {id}", "83023F01", false},
		{"DC 0E <3>", "DC0E010203", true},
		{"DC 0E <3>", "DC0E0102", false},
		{"<0>01", "01", true},
		{"98 <1> *", "9800", true},
		{"98 <1> *", "98", false},
	} {
		p, err := parsePattern(c.pattern)
		require.NoError(t, err, c.pattern)
		data, err := parseTemplate(c.data, false)
		require.NoError(t, err)
		b, err := data.bytes(nil)
		require.NoError(t, err)
		err = p.match(b, vars)
		require.Equal(t, c.ok, err == nil, "%s against %s: %v", c.pattern, c.data, err)
	}
}

func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		in string
		sw uint16
		ok bool
	}{
		{"9000", 0x9000, true}, {"61??", 0x6112, true}, {"63C?", 0x63C3, true}, {"63C?", 0x63D3, false},
		{"6a86|6B00", 0x6B00, true}, {"6a86|6B00", 0x6A86, true}, {"6a86|6B00", 0x9000, false},
	} {
		l, err := parseStatuses(c.in)
		require.NoError(t, err)
		require.Equal(t, c.ok, l.match(c.sw), "%s %04X", c.in, c.sw)
	}
	require.True(t, statuses(nil).match(0x9000))
	require.False(t, statuses(nil).match(0x6100))
}

func TestPersonaVars(t *testing.T) {
	const persona = `
mf:
  pins: [{ref: PIN1, value: "1234", puk: "12345678"}, {ref: ADM1, key: "38 38 38 38 38 38 38 38"}]
  files:
    - {name: EF.ICCID, content: {iccid: "8900101000000000001"}}
    - {name: ADF.USIM, aid: "a0000000871002", files: [{name: EF.IMSI, content: {imsi: "001010000000001"}}], pins: [{ref: PIN2, value: "567890"}]}
authentication: {k: "465B5CE8B199B49FAA5F0A2EE238A6BC", op: "CDC202D5123E20F62B6D676AC72CB318"}
`
	v, err := telecomVars([]byte(persona))
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"pin1": "31323334FFFFFFFF", "puk1": "3132333435363738", "adm1": "3838383838383838", "pin2": "353637383930FFFF",
		"iccid": "980001010000000000F1", "imsi": "080910100000000010", "aid_usim": "A0000000871002",
		"k": "465B5CE8B199B49FAA5F0A2EE238A6BC", "opc": "CD63CB71954A9F4E48A5994E37A02BAF",
	}, v)
	b, err := changed([]byte(persona), []Change{{"/authentication/op", nil}, {"/authentication/opc", "00"}, {"/authentication/sqn/delta", int64(7)}, {"/toolkit/menu/items", []any{"a"}}})
	require.NoError(t, err)
	require.Contains(t, string(b), "delta: 7")
	require.NotContains(t, string(b), "op:")
	_, err = changed([]byte(persona), []Change{{"/authentication/k/x", "1"}})
	require.ErrorContains(t, err, `/authentication/k/x: "x" is not in a map or list`)
	b, err = changed([]byte(persona), []Change{{"/mf/pins/1", nil}, {"/mf/pins/0/tries", int64(5)}, {"/mf/pins/-/ref", "PIN9"}, {"/mf/files/1/files/0/name", "EF.X"}})
	require.NoError(t, err)
	require.NotContains(t, string(b), "ADM1")
	for _, want := range []string{"tries: 5", "ref: PIN9", "name: EF.X"} {
		require.Contains(t, string(b), want)
	}
	_, err = changed([]byte(persona), []Change{{"/mf/pins/2/ref", "x"}})
	require.ErrorContains(t, err, `/mf/pins/2/ref: "2" is not an index of a list of 2`)
}

// TestFCP: what is wrong with a template is said.
func TestFCP(t *testing.T) {
	for _, c := range []struct{ name, kind, data, err string }{
		{"good", "transparent", "6217 82024121 83022FE2 8A0105 8B032F0603 8002000A 880110", ""},
		{"without security", "transparent", "6212 82024121 83022FE2 8A0105 8002000A 880110", "0 security attributes"},
		{"without size", "transparent", "6213 82024121 83022FE2 8A0105 8B032F0603 880110", "mandatory object 80"},
		{"SFI in the low bits", "transparent", "6217 82024121 83022FE2 8A0105 8B032F0603 8002000A 880102", "88, the SFI"},
		{"another type", "linear", "6217 82024121 83022FE2 8A0105 8B032F0603 8002000A 880110", "file descriptor byte 41"},
		{"records and size", "linear", "6217 82054221002804 83022F00 8A0105 8B032F0602 80020064", "4 records of 40 bytes do not make the file size 100"},
		{"cut off", "transparent", "6217 82024121", "longer than the bytes"},
		{"two templates", "transparent", "6200 6200", "not one template 62"},
		{"unknown kind", "folder", "6200", "no kind of file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tpl, err := parseTemplate(c.data, false)
			require.NoError(t, err)
			b, err := tpl.bytes(nil)
			require.NoError(t, err)
			err = checkFCP(&Dialogue{data: b}, []string{c.kind})
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.err)
		})
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct{ data, err string }{
		{"8001019000FFFF", ""},
		{"80010190008001029700", ""},
		{"800101A40683010195010840", "longer than"},
		{"FFFF", "empty"},
		{"9000", "before any access mode"},
		{"8001019200", "no security condition"},
	} {
		b, err := hex.DecodeString(c.data)
		require.NoError(t, err)
		err = checkRules(&Dialogue{data: b}, nil)
		if c.err == "" {
			require.NoError(t, err, c.data)
			continue
		}
		require.ErrorContains(t, err, c.err, c.data)
	}
}
