package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/transport"
)

// TestLinksOfHelp: every scheme is in the help texts of --link, at an end that it has.
func TestLinksOfHelp(t *testing.T) {
	for _, table := range append(schemes(scl.DefaultProfile()), transport.Schemes{"mem": nil}) {
		for scheme := range maps.Keys(table) {
			require.Regexp(t, `\b`+scheme+":", toCards+" "+toReaders)
		}
	}
	for text, role := range map[string]transport.Role{toCards: transport.Controller, toReaders: transport.Target} {
		for _, url := range regexp.MustCompile(`[a-z0-9]+:[^ ,]*`).FindAllString(text, -1) {
			if !transport.Inside(url) {
				_, err := transport.Open(strings.NewReplacer("PORT", "1", "[:FILE]", ":x", "[FILE]", "x", "DEVICE", "/dev/spidev0.0").Replace(url), role, schemes(scl.DefaultProfile())...)
				require.NoError(t, err)
			}
		}
	}
}

// TestLinksOfDocs: docs/links.md has every scheme, and every URL that a document shows
// is one.
func TestLinksOfDocs(t *testing.T) {
	tables := schemes(scl.DefaultProfile())
	page, err := os.ReadFile("../../docs/links.md")
	require.NoError(t, err)
	for _, table := range tables {
		for scheme := range maps.Keys(table) {
			require.True(t, regexp.MustCompile("(?m)^\\| .*`"+scheme+":`").Match(page), "the table of links has no %s:", scheme)
		}
	}
	docs, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	example := regexp.MustCompile(`(?:--link|link probe|link bench) (?:'([^']+)'|"([^"]+)"|([a-z][a-z0-9]*:[^\s'"` + "`" + `)]*))`)
	found := 0
	for _, doc := range append(docs, "../../README.md") {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range example.FindAllStringSubmatch(string(text), -1) {
			url := m[1] + m[2] + m[3]
			if regexp.MustCompile(`[A-Z]{4}`).MatchString(url) && !regexp.MustCompile(`GPIO`).MatchString(url) {
				continue // HOST:PORT, READER
			}
			found++
			if transport.Inside(url) {
				_, _, err = transport.Pair(url, tables...)
			} else if _, err = transport.Open(url, transport.Controller, tables...); err != nil {
				_, err = transport.Open(url, transport.Target, tables...)
			}
			require.NoError(t, err, "%s shows %s", doc, url)
		}
	}
	require.Greater(t, found, 15)
}
