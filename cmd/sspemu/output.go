package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// printJSON writes what --json asks for. v carries its schema version.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows in columns; the last cell of a row may have any length.
func table(w io.Writer, rows ...[]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	return t.Flush()
}

// spaced is hexadecimal with a space between the bytes.
func spaced(hexadecimal string) string {
	b, err := hex.DecodeString(hexadecimal)
	if err != nil {
		return hexadecimal
	}
	return fmt.Sprintf("% X", b)
}
