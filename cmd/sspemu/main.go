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
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		complain(stderr, errors.New("interrupted"))
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
		PersistentPreRunE: func(*cobra.Command, []string) error { *started = true; return nil },
	}
	group(root,
		newServe(), newAPDU(), newHTTP(), newCoAP(), newProxy(), newLink(), newBus(), newBundle(), newWait(), newDoctor(),
		newProfile(), newPersona(), newEMV(), newInspect(), newIssuer(), newIoT(), newOTA(), newCA(), newModem(), newDemo(), newConform(), newVersion(), newCompletion(),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%s: %w (%s --help lists the flags)", cmd.Name(), err, cmd.CommandPath())
	})
	return root
}

// group makes cmd a command that only has subcommands.
func group(cmd *cobra.Command, subs ...*cobra.Command) {
	cmd.AddCommand(subs...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := cmd.CommandPath() + " --help lists the commands"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		_, path, _ := strings.Cut(cmd.CommandPath()+" "+args[0], " ")
		return fmt.Errorf("%s: there is no such command (%s)", path, hint)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.SuggestionsMinimumDistance = 2
}
