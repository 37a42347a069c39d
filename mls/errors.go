package mls

import (
	"errors"
	"fmt"
)

// What callers branch on. Everything else that goes wrong with somebody's input is an *InvalidError or a plain error.
var (
	ErrArgument      = errors.New("it cannot be used")
	ErrUnsupported   = errors.New("not supported")
	ErrDecrypt       = errors.New("cannot be decrypted")
	ErrReplay        = errors.New("its key has been used or has expired")
	ErrTooFarAhead   = errors.New("its generation is too far ahead")
	ErrOwnMessage    = errors.New("it is our own")
	ErrWrongGroup    = errors.New("it belongs to another group")
	ErrPendingCommit = errors.New("a commit of ours is pending")
	ErrRemoved       = errors.New("we are not a member any more")
	ErrStale         = errors.New("the group has moved on")
	ErrReInit        = errors.New("the group has been closed in favour of another one")
	ErrUnknownPSK    = errors.New("its secret is not known")
	ErrDamaged       = errors.New("it is not what was stored")
	ErrBrokenPath    = errors.New("its path cannot be followed from our place in the tree") // others may be able to
	errNotForUs      = errors.New("it names none of our key packages")
)

// An InvalidError says which rule of the RFC an input breaks.
type InvalidError struct {
	Rule string // what is wrong, with the section
}

func (e *InvalidError) Error() string { return "mls: invalid: " + e.Rule }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// A WrongEpochError says that a message is not of the current epoch nor of one that is still kept.
type WrongEpochError struct {
	Message, Current uint64
}

func (e *WrongEpochError) Error() string {
	return fmt.Sprintf("mls: message of epoch %d, the group is at %d", e.Message, e.Current)
}
