// Command sspemu emulates an ETSI Smart Secure Platform: a Primary Platform whose
// bundles are WebAssembly modules, behind an SCL network, on links that unmodified
// clients can use.
//
//	main.go       the root command and what every error becomes
//	VERB.go       one file a subcommand
//	emulator.go   the rooms put together in one process
//	remote.go     the emulator that runs already, through console.Client
//	console/      the control API
//
// The contract of the command line is in README.md; testdata/*.txtar reads as its
// manual.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage marks an error as a mistake on the command line.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// silentError: the command has failed and has said why on standard output.
type silentError struct{}

func (silentError) Error() string { return "failed" }

// run carries out a command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	started := false // a RunE began: errors from then on are not cobra's
	root := newRoot(&started)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(silentError)):
		return exitFailed
	case !started || errors.As(err, &wrong):
		complain(stderr, err)
		return exitUsage
	}
	complain(stderr, err)
	return exitFailed
}

// complain prints an error as one line; what a compiler said follows it.
func complain(w io.Writer, err error) {
	first, rest, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	fmt.Fprintf(w, "sspemu: %s\n", first)
	if rest != "" {
		fmt.Fprintln(w, rest)
	}
}

func newRoot(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "sspemu",
		Short: "Emulator of an ETSI Smart Secure Platform",
		Long: `sspemu emulates an ETSI Smart Secure Platform: bundles are WebAssembly modules,
many are installed, one is active, and unmodified clients talk to it.

  sspemu serve                    start it
  sspemu apdu 00A40004023F00      send a command
  sspemu doctor                   what is missing for PC/SC, and how to get it`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error { *started = true; return nil },
	}
	root.AddCommand(
		newServe(), newAPDU(), newBundle(), newWait(), newDoctor(),
		newProfile(), newConform(), newVersion(), newCompletion(),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}
