package waxwing_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOfOneGoroutine: the gate leaves packages out of the race detector, which makes their tests ten times slower and has nothing to find where
// nothing happens at once. Neither they nor their tests may begin anything.
func TestOfOneGoroutine(t *testing.T) {
	gate, err := os.ReadFile(".ci/run")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^of_one_goroutine="(.*)"$`).FindSubmatch(gate)
	require.NotNil(t, line)
	for _, folder := range strings.Split(string(line[1]), "|") {
		require.Empty(t, begins(t, folder), "%s: run it under the race detector", folder)
	}
	require.NotEmpty(t, begins(t, "agent"), "the control")
	require.NotEmpty(t, begins(t, "mls"), "the control: tests that run at once")
}

// begins says where a folder's files begin something that runs beside them.
func begins(t *testing.T, folder string) (places []string) {
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, folder)
	for _, file := range files {
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			_, starts := n.(*ast.GoStmt)
			if call, ok := n.(*ast.SelectorExpr); ok {
				starts = call.Sel.Name == "Go" || call.Sel.Name == "Parallel" || call.Sel.Name == "RunParallel" || call.Sel.Name == "AfterFunc"
			}
			if starts {
				places = append(places, fmt.Sprint(set.Position(n.Pos())))
			}
			return true
		})
	}
	return places
}
