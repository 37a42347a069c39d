package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// ErrRestored is for a data folder whose log has shown more, or something else, to the world than the folder knows of: it came
// from a backup. If it went on it would sign a second history under its name. The whole text says what to do.
var ErrRestored = errors.New("the data folder is not the newest one of its log")

const whatToDo = `Bring the newer data folder back. If it is lost, move this one away and start with an empty one: that begins a new log under
a new key, and everybody who knew this instance will be warned that its key has changed, as if it were another instance`

// A marker is the file beside the database that has the newest checkpoint which may have left the house. So a database that is put back
// by itself, from an older copy, is known for what it is without anybody being asked.
type marker struct{ path string }

func newMarker(dir string) marker { return marker{filepath.Join(dir, "log-head")} }

// read gives nothing if there is no marker yet.
func (m marker) read() ([]byte, error) {
	f, err := os.Open(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sidecar: reading the head marker: %w", err)
	}
	defer f.Close()
	signed, err := io.ReadAll(io.LimitReader(f, transparency.MaxNote+1))
	if err != nil {
		return nil, fmt.Errorf("sidecar: reading the head marker: %w", err)
	}
	return append([]byte{}, signed...), nil
}

// write is durable when it returns.
func (m marker) write(checkpoint []byte) error {
	dir := filepath.Dir(m.path)
	f, err := os.CreateTemp(dir, ".log-head-")
	if err != nil {
		return fmt.Errorf("sidecar: writing the head marker: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(checkpoint)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), m.path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("sidecar: writing the head marker: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// checkMarker holds a marker that was read before the log was (W17): another process that serves from the folder may be writing both.
func checkMarker(ctx context.Context, log *sequencer.Sequencer, signed []byte) error {
	if signed == nil {
		return nil
	}
	c, err := transparency.OpenCheckpoint(signed, log.Verifier())
	if err != nil {
		if other, err := transparency.UnverifiedCheckpoint(signed); err == nil && other.Origin != log.Origin() {
			return fmt.Errorf("sidecar: %w: its file log-head is of the log %s, whose database is not here. %s", ErrRestored, other.Origin, whatToDo)
		}
		return fmt.Errorf("sidecar: the file log-head is damaged; if nothing in the data folder was ever put back from a backup, delete it: %w", err)
	}
	return continues(ctx, log, c, "its file log-head")
}

// continues says whether the log has what it was seen to have, as ErrRestored if not.
func continues(ctx context.Context, log *sequencer.Sequencer, seen transparency.Checkpoint, by string) error {
	size := log.Size()
	if seen.Size > size {
		return fmt.Errorf("sidecar: %w: its log ends at %d entries, and %s has seen %d. %s", ErrRestored, size, by, seen.Size, whatToDo)
	}
	root, err := log.RootAt(ctx, seen.Size)
	if err != nil {
		return err
	}
	if root != seen.Root {
		return fmt.Errorf("sidecar: %w: its log has %d entries, and %s has seen %d others. %s", ErrRestored, size, by, seen.Size, whatToDo)
	}
	return nil
}
