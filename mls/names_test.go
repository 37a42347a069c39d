package mls

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFewNames: what a reader of the manual has to know by name, methods and fields aside, stays below 120.
func TestFewNames(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	names := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for name := range parsed.Scope.Objects {
			if ast.IsExported(name) {
				names++
			}
		}
	}
	require.Greater(t, names, 60)
	require.Less(t, names, 120)
}
