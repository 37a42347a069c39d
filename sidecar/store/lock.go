package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrOccupied is for a data folder that is being served already.
var ErrOccupied = errors.New("another process serves from this data folder: stop it first")

// Occupy makes the caller the only one to serve from the folder until it calls release or its process ends. Others may have the
// store open meanwhile. Errors: ErrOccupied.
func (s *Store) Occupy() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "serving"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: occupying the data folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrOccupied
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: occupying the data folder: %w", err), f.Close())
	}
	return func() { f.Close() }, nil // the lock goes with it
}
