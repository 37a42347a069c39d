package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGeneratedCodeIsCurrent(t *testing.T) {
	files, err := generate("..")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for name, text := range files {
		committed, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		require.True(t, string(committed) == string(text), "%s is not what harness.proto gives: go generate ./harness", name)
	}
}
