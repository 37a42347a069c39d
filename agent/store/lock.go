package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
)

// acquire takes a lock that goes with this process, however it ends. The file stays and names who holds it.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = busy(f)
	} else if err == nil {
		err = errors.Join(f.Truncate(0), sign(f))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func sign(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

// busy names the holder if the file does; it may be about to.
func busy(f *os.File) error {
	b, err := io.ReadAll(io.LimitReader(f, 16))
	if err != nil {
		return ErrBusy
	}
	if pid, err := strconv.Atoi(string(b)); err == nil && pid > 0 {
		return fmt.Errorf("process %d: %w", pid, ErrBusy)
	}
	return ErrBusy
}
