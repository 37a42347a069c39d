package witness_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestChecksAreHeld: every check of spec/witness.md is there, names tests, and the tests exist.
func TestChecksAreHeld(t *testing.T) {
	page, err := os.ReadFile("../../spec/witness.md")
	require.NoError(t, err)
	var code []byte
	for _, pattern := range []string{"*_test.go", "../*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			code = append(code, b...)
		}
	}
	tests := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(page, -1)
	require.NotEmpty(t, tests)
	for _, m := range tests {
		require.Contains(t, string(code), "func "+string(m[1])+"(", "spec/witness.md names it")
	}
	items := regexp.MustCompile(`(?m)^\* (W\d+) (?:.*\n(?:  .*\n)*)`).FindAllSubmatch(page, -1)
	for i, m := range items {
		require.Equal(t, fmt.Sprintf("W%d", i+1), string(m[1]), "checks are numbered in order")
		require.Regexp(t, "`(Test|Fuzz)", string(m[0]), "a check without a test")
	}
	require.Len(t, items, 15)
}
