// Package threatmodel_test holds the threat model to its word: what it names as held by a test must be held by one.
package threatmodel_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var named = regexp.MustCompile("`([a-z/.]+):((?:Test|Fuzz)[A-Za-z0-9]+)`")

func TestNamedTestsExist(t *testing.T) {
	var names [][]string
	for _, page := range []string{"README.md", "walkthroughs.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		names = append(names, named.FindAllStringSubmatch(string(text), -1)...)
	}
	require.Greater(t, len(names), 80)
	for _, n := range names {
		files, err := filepath.Glob(filepath.Join("..", n[1], "*_test.go"))
		require.NoError(t, err)
		found := false
		for _, f := range files {
			code, err := os.ReadFile(f)
			require.NoError(t, err)
			found = found || strings.Contains(string(code), "\nfunc "+n[2]+"(")
		}
		if !found {
			t.Errorf("the threat model names %s of %s, which is not there", n[2], n[1])
		}
	}
}

// TestRisksHaveAStatus keeps the status words to the four that are defined, and a claim of "prevented" to what is tested.
func TestRisksHaveAStatus(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| R") || len(cells) != 6 {
			continue
		}
		rows++
		status := strings.TrimSpace(cells[3])
		require.Contains(t, []string{"prevented", "mitigated", "addressable", "open"}, status, line)
		if status == "prevented" || status == "mitigated" {
			require.Regexp(t, named, cells[4], "nothing holds %s", cells[1])
		}
	}
	require.Greater(t, rows, 20)
}
