package safehttp

import (
	"fmt"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT (RFC 5482), which package syscall does not have.
const tcpUserTimeout = 0x12

// giveUpSilent has the kernel break the connection when what was sent has not been acknowledged for so long. Otherwise it would go on for a
// quarter of an hour, and at longer and longer intervals: for as long again as the line was cut, nothing would pass after it is whole.
func giveUpSilent(raw syscall.RawConn, after time.Duration) error {
	var err error
	if failed := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(after/time.Millisecond))
	}); failed != nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("safehttp: preparing a connection: %w", err)
	}
	return nil
}
