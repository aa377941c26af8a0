package primary

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/primary/nvm"
)

func TestStartRefuses(t *testing.T) {
	t.Run("active is unknown", func(t *testing.T) {
		_, err := tryStart(t, Config{Builtins: builtins(t, 1), Active: "two"})
		require.EqualError(t, err, "activate two: there is no such bundle (there are one)")
	})
	t.Run("nothing is there", func(t *testing.T) {
		_, err := tryStart(t, Config{Class: Embedded1, Active: "two"})
		require.EqualError(t, err, "start two: there is no such bundle (none is installed)")
	})
	t.Run("built-in bundle cannot be opened", func(t *testing.T) {
		_, err := tryStart(t, Config{Builtins: []Builtin{{Name: "x", Open: func() ([]byte, error) { return nil, errors.New("no bundles are built") }}}})
		require.EqualError(t, err, "built-in bundle x: no bundles are built")
	})
	t.Run("damaged record", func(t *testing.T) {
		state := nvm.OpenMemory(nvm.Options{})
		require.NoError(t, state.Registry().Put(recordKey(idOf(1)), []byte("{")))
		_, err := tryStart(t, Config{State: state})
		require.ErrorIs(t, err, nvm.ErrDamaged)
		require.ErrorContains(t, err, "record bundle/"+idOf(1).String())
	})
	t.Run("package is gone", func(t *testing.T) {
		state := nvm.OpenMemory(nvm.Options{})
		w := start(t, Config{State: state})
		_, err := w.Install(t.Context(), spbOf(t, "one", 1), "one.spb")
		require.NoError(t, err)
		require.NoError(t, w.Enable("one"))
		require.NoError(t, w.Close())
		require.NoError(t, state.KeepFiles(func(string) bool { return false }))
		w = start(t, Config{State: state})
		require.NoError(t, w.Warm(t.Context()))
		require.ErrorContains(t, w.List()[0].Problem, "file does not exist")
		require.ErrorContains(t, w.Activate(t.Context(), "one"), "activate one: package ")
		require.NoError(t, w.Delete("one"))
	})
}

// TestBuiltinAndInstalled: the user's package of a built-in bundle wins, and so
// does a name that is taken.
func TestBuiltinAndInstalled(t *testing.T) {
	state := nvm.OpenMemory(nvm.Options{})
	w := start(t, Config{State: state})
	_, err := w.Install(t.Context(), spbOf(t, "one", 1), "mine.spb")
	require.NoError(t, err)
	_, err = w.Install(t.Context(), spbOf(t, "two", 20), "two.spb")
	require.NoError(t, err)
	require.NoError(t, w.Close())

	w = start(t, Config{State: state, Builtins: builtins(t, 2)})
	list := w.List()
	require.Len(t, list, 2)
	require.Equal(t, "mine.spb", list[0].Origin)
	require.Equal(t, idOf(20), list[1].ID)
	require.NoError(t, w.Delete("one"))
	require.NoError(t, w.Delete("two"))
	require.NoError(t, w.Close())

	w = start(t, Config{State: state, Builtins: builtins(t, 2)})
	require.Equal(t, "two enabled, ", w.states(), "one was deleted, two is new")
}

// TestCodeInMemory: enabled bundles are compiled beforehand, disabled ones take no memory.
func TestCodeInMemory(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 3), Active: "one"})
	require.NoError(t, w.Warm(t.Context()))
	loaded := func() (names string) {
		w.Platform.mu.Lock()
		defer w.Platform.mu.Unlock()
		for _, b := range slices.SortedFunc(maps.Values(w.bundles), byName) {
			if b.module != nil {
				names += b.name + " "
			}
		}
		return names
	}
	require.Equal(t, "one three two ", loaded())
	require.NoError(t, w.Disable("two"))
	require.Equal(t, "one three ", loaded())
	require.NoError(t, w.Disable("one"))
	require.Equal(t, "three ", loaded(), "it was the active one")
	require.NoError(t, w.Enable("two"))
	require.Eventually(t, func() bool { return loaded() == "three two " }, 10*time.Second, time.Millisecond)
	require.NoError(t, w.Enable("one"))
	require.NoError(t, w.Activate(t.Context(), "one"), "nobody waits for the background")
	require.Equal(t, "9000", w.terminal().send("000C000003 010203"))
	_, err := w.Install(t.Context(), spbOf(t, "four", 4), "four.spb")
	require.NoError(t, err)
	require.NotContains(t, loaded(), "four")
	for range 50 { // the background comes second
		require.NoError(t, w.Enable("four"))
		require.NoError(t, w.Disable("four"))
		require.NoError(t, w.Enable("four"))
		require.NoError(t, w.Activate(t.Context(), "four"))
		require.Equal(t, "9000", w.terminal().send("000C000003 010203"))
		require.NoError(t, w.Disable("four"))
	}
	require.NotContains(t, loaded(), "four")
}

// TestTelling: what a bundle says reaches watchers and log.
func TestTelling(t *testing.T) {
	var b bytes.Buffer
	w := start(t, Config{Builtins: builtins(t, 1), Active: "one", Log: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	cancel := w.Watch(func(Event) { t.Error("after cancel") })
	cancel()
	require.Equal(t, "9000", w.terminal().send("000C000003 010203"))
	e := w.waitFor(Told, "one")
	require.Equal(t, "told", e.Name)
	require.Equal(t, []byte{1, 2, 3}, e.Data)
	require.Equal(t, idOf(1), e.ID)
	require.NoError(t, w.Close())
	for _, s := range []string{"level=INFO msg=activated bundle=one", "level=INFO msg=told bundle=one", `level=DEBUG msg="bundle event" bundle=one name=told data=010203`} {
		require.Contains(t, b.String(), s)
	}
}

// TestWatcherMayUseThePlatform: no lock is held while a watcher runs.
func TestWatcherMayUseThePlatform(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 2)})
	w.Watch(func(e Event) {
		if e.Kind == Activated && e.Bundle == "one" {
			if err := w.Activate(t.Context(), "two"); err != nil {
				t.Error(err)
			}
		}
	})
	require.NoError(t, w.Activate(t.Context(), "one"))
	w.waitFor(Activated, "two")
}
