package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
)

// loadPolicy reads a witness policy (C2SP tlog-policy). No path is no policy.
func loadPolicy(path string) (*transparency.Policy, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the witness policy: %w; name the file of your witnesses as \"witnesses\" in the settings or with --witnesses, or leave that away", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, transparency.MaxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("reading the witness policy: %w", err)
	}
	p, err := transparency.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("the witness policy %s: %w; correct that line (spec/witness.md, \"The policy file\")", path, err)
	}
	return p, nil
}

const (
	statusFailure = 1
	statusConfig  = 78 // EX_CONFIG: starting again changes nothing before somebody has done something
)

// exitStatus tells a service manager whether to try again.
func exitStatus(err error) int {
	if errors.Is(err, sidecar.ErrRestored) {
		return statusConfig
	}
	return statusFailure
}
