package witness_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestChecksAreHeld: every check of spec/witness.md is there, names tests, and the tests exist.
func TestChecksAreHeld(t *testing.T) {
	page, err := os.ReadFile("../../spec/witness.md")
	require.NoError(t, err)
	var code []byte
	for _, pattern := range []string{"*_test.go", "../*_test.go", "../sequencer/*_test.go", "../../sidecar/*_test.go", "../../sidecar/witnessing/*_test.go", "../../device/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			code = append(code, b...)
		}
	}
	tests := regexp.MustCompile("`(?:[a-z]+:)?((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(page, -1)
	require.NotEmpty(t, tests)
	for _, m := range tests {
		require.True(t, bytes.Contains(code, []byte("func "+string(m[1])+"(")), "spec/witness.md names %s", m[1])
	}
	items := regexp.MustCompile(`(?m)^\* (W\d+) (?:.*\n(?:  .*\n)*)`).FindAllSubmatch(page, -1)
	last := 0
	for _, m := range items {
		n, err := strconv.Atoi(string(m[1][1:]))
		require.NoError(t, err)
		require.Greater(t, n, last, "checks are numbered in order")
		last = n
		require.Regexp(t, "`([a-z]+:)?(Test|Fuzz)", string(m[0]), "a check without a test")
	}
	require.GreaterOrEqual(t, len(items), 15)
}
