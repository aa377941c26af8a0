package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

// TestNotify: a service manager hears READY=1 and STOPPING=1.
func TestNotify(t *testing.T) {
	if noBundles(t) {
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer socket.Close()
	require.NoError(t, socket.SetReadDeadline(time.Now().Add(time.Minute)))
	t.Setenv("NOTIFY_SOCKET", path)
	hear := func() string {
		b := make([]byte, 100)
		n, err := socket.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	ctx, stop := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"serve", "--ephemeral", "--link", "off", "--api", "off"}, &stdout, &stderr)
	}()
	require.Equal(t, "READY=1", hear())
	stop()
	require.Equal(t, "STOPPING=1", hear())
	require.Equal(t, exitOK, <-done, stderr.String())
	require.True(t, strings.HasSuffix(stdout.String(), "\nready\n"), stdout.String())
}

func TestNotifyNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "@nobody is there "+t.Name())
	notify("READY=1")
	t.Setenv("NOTIFY_SOCKET", "")
	notify("READY=1")
}

// TestInterrupted: who is asked to end before it is ready ends well.
func TestInterrupted(t *testing.T) {
	if noBundles(t) {
		return
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, run(ctx, []string{"serve", "--ephemeral", "--link", "off", "--api", "off"}, &stdout, &stderr))
	require.Equal(t, exitFailed, run(ctx, []string{"apdu", "--link", "mem:", "00A4"}, &stdout, &stderr))
	require.Empty(t, stdout.String())
	require.True(t, strings.HasSuffix(stderr.String(), "sspemu: interrupted\n"), stderr.String())
}

func TestEventLog(t *testing.T) {
	l := newEventLog()
	for range maxEvents + 10 {
		l.add(console.Event{Name: "x"})
	}
	events, _ := l.after(0)
	require.Len(t, events, maxEvents, "the oldest are forgotten")
	require.EqualValues(t, 11, events[0].Seq)
	require.EqualValues(t, maxEvents+10, l.last())
	synctest.Test(t, func(t *testing.T) {
		l := newEventLog()
		var got []string
		done := make(chan error)
		go func() {
			done <- l.follow(t.Context(), 1, func(e console.Event) bool {
				got = append(got, e.Name)
				return e.Name == "c"
			})
		}()
		for _, name := range []string{"a", "b", "c", "d"} {
			l.add(console.Event{Name: name})
			synctest.Wait()
		}
		require.NoError(t, <-done)
		require.Equal(t, []string{"b", "c"}, got)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- l.follow(ctx, 4, func(console.Event) bool { return true }) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

// TestSuggestions: the lines to paste find the serve that printed them.
func TestSuggestions(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/s")
	for _, tt := range []struct {
		name, state, api, runtime, want string
	}{
		{"default", "/s/sspemu", "127.0.0.1:1234", "", "apdu 00A4"},
		{"another state", "/other", "127.0.0.1:1234", "", "apdu --state /other 00A4"},
		{"ephemeral", "", "127.0.0.1:1234", "/run/user/1", "apdu 00A4"},
		{"ephemeral, nowhere to say it", "", "127.0.0.1:1234", "", "apdu --api 127.0.0.1:1234 00A4"},
		{"ephemeral, default address", "", defaultAPI, "", "apdu 00A4"},
		{"no API", "/s/sspemu", "", "", "apdu --api off 00A4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", tt.runtime)
			s := &server{settings: settings{state: tt.state}}
			require.Contains(t, s.suggestions(console.Status{API: tt.api}, nil)[0], tt.want)
		})
	}
}
