package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine makes the root of a file system with these files; those in bin can be run.
func machine(t *testing.T, files map[string]string) host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
	}
	return host{root: root, path: "/usr/bin", remote: &remote{api: off}}
}

// listening is a table of proc(5) with a socket on port 35963.
const listeningTable = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:8C7B 00000000:0000 0A 00000000:00000000
`

const quietTable = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:8C7B 0100007F:9999 01 00000000:00000000
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000
`

func TestDoctor(t *testing.T) {
	const pcscdFile, driverPath = "usr/sbin/pcscd", "usr/lib/pcsc/drivers/serial/libifdvpcd.so"
	for _, tt := range []struct {
		name   string
		files  map[string]string
		daemon bool
		want   map[string]string // state and the next command, by check
	}{
		{"nothing installed", map[string]string{"proc/net/tcp": quietTable}, false, map[string]string{
			"pcscd":          "missing sudo apt-get install pcscd",
			"reader driver":  "missing sudo apt-get install vsmartcard-vpcd",
			"pcscd running":  "missing sudo pcscd",
			"virtual reader": "missing ",
			"clients":        "note sudo apt-get install opensc pcsc-tools",
		}},
		{"installed, not running", map[string]string{pcscdFile: "", driverPath: "", driverConfig: "", systemd + "/x": "", "usr/bin/opensc-tool": "", "usr/bin/pcsc_scan": "", "proc/net/tcp": quietTable}, false, map[string]string{
			"pcscd":          "ok ",
			"reader driver":  "ok ",
			"pcscd running":  "missing sudo systemctl start pcscd.socket pcscd",
			"virtual reader": "missing ",
			"clients":        "ok ",
		}},
		{"socket of a daemon that is gone", map[string]string{pcscdFile: "", pcscdSocket: "", "proc/net/tcp": quietTable}, false, map[string]string{
			"pcscd running": "missing sudo pcscd",
		}},
		{"driver without configuration", map[string]string{pcscdFile: "", driverPath: "", "proc/net/tcp": quietTable}, true, map[string]string{
			"reader driver":  "missing sudo apt-get install --reinstall -o Dpkg::Options::=--force-confmiss vsmartcard-vpcd",
			"pcscd running":  "ok ",
			"virtual reader": "missing sudo pkill pcscd; sudo pcscd",
		}},
		{"all there", map[string]string{pcscdFile: "", driverPath: "", driverConfig: "", "proc/net/tcp": listeningTable}, true, map[string]string{
			"reader driver":  "ok ",
			"pcscd running":  "ok ",
			"virtual reader": "ok ",
		}},
		{"somebody else's port", map[string]string{"proc/net/tcp6": listeningTable}, false, map[string]string{
			"virtual reader": "missing ss -ltnp 'sport = :35963'",
		}},
		{"a system without proc", nil, false, map[string]string{
			"virtual reader": "note ",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := machine(t, tt.files)
			if tt.daemon {
				path := h.file(pcscdSocket)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				l, err := net.Listen("unix", path)
				require.NoError(t, err)
				defer l.Close()
			}
			got := map[string]string{}
			for _, c := range doctor(t.Context(), h) {
				require.NotEmpty(t, c.Text, c.Name)
				if _, ok := tt.want[c.Name]; ok {
					got[c.Name] = c.State + " " + c.Next
				}
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writable(filepath.Join(dir, "not", "yet", "there")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is left behind")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, writable(filepath.Join(file, "below")), "cannot be written")
}

func TestPortOpen(t *testing.T) {
	h := machine(t, map[string]string{"proc/net/tcp": listeningTable})
	for _, tt := range []struct {
		name        string
		port        int
		open, known bool
	}{
		{"127.0.0.1", 35963, true, true},
		{"localhost", 35963, true, true},
		{"::1", 35963, true, true},
		{"127.0.0.1", 35964, false, true},
		{"192.0.2.1", 35963, false, false},
		{"card.lab", 35963, false, false},
	} {
		open, known := h.portOpen(tt.name, tt.port)
		require.Equal(t, [2]bool{tt.open, tt.known}, [2]bool{open, known}, "%s %d", tt.name, tt.port)
	}
	require.False(t, listens("sl\nx\n0: zz:zz 0 0A\n", 0))
}
