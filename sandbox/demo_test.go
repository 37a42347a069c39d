package sandbox_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sandbox"
)

func TestDemo(t *testing.T) {
	ctx := context.Background()
	s, err := sandbox.Start(ctx, t.TempDir())
	require.NoError(t, err)
	var out bytes.Buffer
	err = s.Demo(ctx, &out)
	t.Log(out.String())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Contains(t, out.String(), "0 plaintext bytes on either server\n")
}
