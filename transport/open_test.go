package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		url  string
		want transport.URL
	}{
		{"mem:", transport.URL{Scheme: "mem", Port: -1}},
		{"vpcd://127.0.0.1:35963", transport.URL{Scheme: "vpcd", Host: "127.0.0.1", Port: 35963}},
		{"VPCD://host", transport.URL{Scheme: "vpcd", Host: "host", Port: -1}},
		{"vpcd://[::1]:1", transport.URL{Scheme: "vpcd", Host: "::1", Port: 1}},
		{"vpcd://[fe80::1]", transport.URL{Scheme: "vpcd", Host: "fe80::1", Port: -1}},
		{"pcsc:Virtual PCD 00 00", transport.URL{Scheme: "pcsc", Port: -1, Path: "Virtual PCD 00 00"}},
		{"pcsc:What%3F [CCID: x] 100%25?protocol=t1", transport.URL{Scheme: "pcsc", Port: -1, Path: "What? [CCID: x] 100%", Params: map[string]string{"protocol": "t1"}}},
		{"serial:/dev/pts/3?protocol=t1", transport.URL{Scheme: "serial", Port: -1, Path: "/dev/pts/3", Params: map[string]string{"protocol": "t1"}}},
		{"spi:/dev/spidev0.0?hz=10000000&irq=GPIO25", transport.URL{Scheme: "spi", Port: -1, Path: "/dev/spidev0.0", Params: map[string]string{"hz": "10000000", "irq": "GPIO25"}}},
		{"pigpio://raspberrypi:8888/i2c?addr=0x48", transport.URL{Scheme: "pigpio", Host: "raspberrypi", Port: 8888, Path: "i2c", Params: map[string]string{"addr": "0x48"}}},
	} {
		got, err := transport.Parse(c.url)
		require.NoError(t, err, c.url)
		require.Equal(t, c.url, got.String())
		require.Equal(t, c.want.Scheme, got.Scheme, c.url)
		require.Equal(t, c.want.Host, got.Host, c.url)
		require.Equal(t, c.want.Port, got.Port, c.url)
		require.Equal(t, c.want.Path, got.Path, c.url)
		require.Equal(t, c.want.Params, got.Params, c.url)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	echo := transport.Schemes{"echo": func(u transport.URL, _ transport.Role) (transport.Link, error) {
		if err := u.Only("depth", "way"); err != nil {
			return nil, err
		}
		if _, err := u.OneOf("way", "in", "out"); err != nil {
			return nil, err
		}
		c, _ := transport.Mem()
		return c, nil
	}}
	for _, c := range []struct{ url, want string }{
		{"", `link "": there is no scheme (a link looks like vpcd://127.0.0.1:35963 or pcsc:READER)`},
		{"127.0.0.1", `link "127.0.0.1": there is no scheme (a link looks like vpcd://127.0.0.1:35963 or pcsc:READER)`},
		{"gopher://x", `link "gopher://x": unknown scheme "gopher" (available: echo, mem)`},
		{"simspi:bus0", `link "simspi:bus0": scheme simspi: is not available in this version (available: echo, mem)`},
		{"mem:", `link "mem:": mem: joins two ends inside one process and cannot be reached from outside`},
		{"echo://x:http", `link "echo://x:http": port "http" is not a number from 1 to 65535`},
		{"echo://x:65536", `link "echo://x:65536": port "65536" is not a number from 1 to 65535`},
		{"echo://x:-1", `link "echo://x:-1": port "-1" is not a number from 1 to 65535`},
		{"echo://:99", `link "echo://:99": there is no host (write echo://HOST:PORT)`},
		{"echo://::1", `link "echo://::1": an IPv6 address goes into brackets: echo://[::1]`},
		{"echo://me@x", `link "echo://me@x": a link has no user name (write echo://HOST:PORT)`},
		{"echo:x#y", `link "echo:x#y": '#' has no meaning in a link (write %23 for the character)`},
		{"echo:100%", `link "echo:100%": invalid URL escape "%" (write %25 for '%')`},
		{"echo:?speed=9", `link "echo:?speed=9": unknown parameter "speed" (echo: takes depth, way)`},
		{"echo:?way=up", `link "echo:?way=up": way=up is not known (use one of in, out)`},
		{"echo:\n", `link "echo:\n": byte 6 is a control character`},
		{"echo:?way=in&way=in", `link "echo:?way=in&way=in": parameter "way" is given twice`},
		{"echo:?way=%zz", `link "echo:?way=%zz": parameter "way": invalid URL escape "%zz"`},
	} {
		l, err := transport.Open(c.url, transport.Target, echo)
		require.Nil(t, l, c.url)
		require.EqualError(t, err, c.want, c.url)
	}
	l, err := transport.Open("echo:?way=out", transport.Controller, transport.Schemes{}, echo)
	require.NoError(t, err)
	require.NotNil(t, l)
}

// Whatever is typed, the answer is a URL or one line that says what is wrong.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"mem:", "vpcd://127.0.0.1:35963", "vpcd://[::1]:1", "pcsc:Reader %3F 00?protocol=t1", "spi:/dev/spidev0.0?hz=1&irq=GPIO25", "x://@:#?&=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := transport.Parse(s)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.Equal(t, s, u.String())
		require.NotEmpty(t, u.Scheme)
		require.LessOrEqual(t, u.Port, 65535)
	})
}
