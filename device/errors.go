package device

import (
	"errors"
	"fmt"
	"strings"
)

// Errors a caller branches on.
var (
	ErrNotEnrolled         = errors.New("device: no account yet: log in first")
	ErrOtherAccount        = errors.New("device: this device already belongs to another account")
	ErrOtherDevices        = errors.New("device: the account has a device list without this device")
	ErrDeviceRemoved       = errors.New("device: this device is not in its account's list any more")
	ErrLogKeyChanged       = errors.New("device: the instance shows another log key than the one remembered")
	ErrLogNotPinned        = errors.New("device: the instance's log key is not known yet")
	ErrLogSplit            = errors.New("device: the log has shown two different histories: nothing new in it is believed")
	ErrLogUnproven         = errors.New("device: the log has yet to prove that it shows everybody one history: nothing new in it is believed until then")
	ErrNoHub               = errors.New("device: the hub key of the own instance is not known yet")
	ErrNoSuchConversation  = errors.New("device: no such conversation")
	ErrNoSuchRequest       = errors.New("device: no such request")
	ErrBlocked             = errors.New("device: this person has blocked them")
	ErrNoSuchMessage       = errors.New("device: no such message")
	ErrReceipt             = errors.New("device: the hub's receipt does not hold")
	ErrNoSuchJob           = errors.New("device: no such job")
	ErrLeft                = errors.New("device: this device is no longer in the conversation")
	ErrLeaving             = errors.New("device: this device is leaving the conversation")
	ErrNotMember           = fmt.Errorf("device: not a member of the conversation: %w", ErrActor)
	ErrLastAdmin           = errors.New("device: no admin would remain in the conversation")
	ErrPaused              = errors.New("device: membership of the conversation is on hold")
	ErrIdempotencyConflict = errors.New("device: the idempotency key was used for another message")
	ErrTooLarge            = errors.New("device: larger than the limit")
	ErrContent             = errors.New("device: not something that can be sent")
	ErrActor               = errors.New("device: not usable as a member")
	ErrFile                = errors.New("device: the file is not what the message promised")
	ErrPlainFile           = errors.New("device: plain conversations carry text only")
)

// NotReadyError names recipients that have no keys to encrypt to.
type NotReadyError struct {
	Actors []string
}

func (e *NotReadyError) Error() string {
	return "device: no keys in the directory for " + strings.Join(e.Actors, ", ")
}

// PlainOnlyError names people whose instances have no directory: they can be written to in a plain conversation only, and nobody asked for one.
type PlainOnlyError struct {
	Actors []string
}

func (e *PlainOnlyError) Error() string {
	return "device: nobody vouches for the keys of " + strings.Join(e.Actors, ", ")
}

// CheckError names the numbered check of spec/conversation.md or spec/receipt.md that failed.
type CheckError struct {
	Check  string // "C2", "F1", "R3", …
	Reason string
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("device: check %s: %s", e.Check, e.Reason)
}

func failed(check, format string, args ...any) error {
	return &CheckError{Check: check, Reason: fmt.Sprintf(format, args...)}
}
