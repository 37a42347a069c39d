//go:build linux

package partition_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"unsafe"
)

// asKeeper makes the test binary the keeper of a place.
const asKeeper = "WAXWING_TEST_AS_KEEPER"

// keeping is what a keeper has to know.
type keeping struct {
	Service, WayOut string // addresses
	Hosts, Resolv   string // files that stand for those of /etc
	Cert, Key       string // files; without them nothing is served
	Behind          string // address of what is served
}

// keep makes the place and stays until its orders end. It is also what an admin puts before a sidecar: a reverse proxy with TLS.
func keep(config string) error {
	var k keeping
	if err := json.Unmarshal([]byte(config), &k); err != nil {
		return err
	}
	if err := k.names(); err != nil {
		return err
	}
	if err := k.connect(); err != nil {
		return err
	}
	if k.Cert != "" {
		if err := k.serve(); err != nil {
			return err
		}
	}
	fmt.Println("done")
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		var err error
		switch orders.Text() {
		case "unplug":
			err = setFlags("tun0", 0)
		case "plug in":
			err = setFlags("tun0", syscall.IFF_UP|syscall.IFF_RUNNING)
		default:
			err = errors.New("an order of no kind")
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("done")
	}
	return nil
}

// names puts own files over those of /etc, for this place only.
func (k keeping) names() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	for over, file := range map[string]string{"/etc/hosts": k.Hosts, "/etc/resolv.conf": k.Resolv} {
		if err := syscall.Mount(file, over, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("putting a file over %s: %w", over, err)
		}
	}
	return nil
}

// connect makes the way out: whatever is sent there comes out at fd 3 as a packet, and back.
func (k keeping) connect() error {
	tun, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	r := request("tun0")
	*(*uint16)(unsafe.Pointer(&r[16])) = syscall.IFF_TUN | syscall.IFF_NO_PI
	if err := ioctl(tun, syscall.TUNSETIFF, &r); err != nil {
		return fmt.Errorf("making tun0: %w", err)
	}
	up := uint16(syscall.IFF_UP | syscall.IFF_RUNNING)
	if err := errors.Join(
		setFlags("lo", up), setAddress("lo:1", k.Service, "255.255.255.255"),
		setAddress("tun0", k.WayOut, "255.255.255.0"), setFlags("tun0", up),
	); err != nil {
		return err
	}
	const outside = 3
	go relay(tun, outside)
	go relay(outside, tun)
	return nil
}

func relay(from, to int) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := syscall.Read(from, buffer)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		_, _ = syscall.Write(to, buffer[:n]) // an interface that is down takes nothing: lost
	}
}

func (k keeping) serve() error {
	cert, err := tls.LoadX509KeyPair(k.Cert, k.Key)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(k.Service, "443"))
	if err != nil {
		return err
	}
	behind := &url.URL{Scheme: "http", Host: k.Behind}
	quiet, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(behind)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1, ErrorLog: log.New(quiet, "", 0),
	}
	server := &http.Server{Handler: proxy, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ErrorLog: log.New(quiet, "", 0)}
	go server.ServeTLS(l, "", "")
	return nil
}

// An ifreq is a name of 16 bytes and what is set (netdevice(7)).
type ifreq [40]byte

func request(name string) (r ifreq) {
	copy(r[:15], name)
	return r
}

func ioctl(fd int, what uintptr, r *ifreq) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

func configure(what uintptr, r ifreq) error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	return ioctl(s, what, &r)
}

func setFlags(name string, flags uint16) error {
	r := request(name)
	*(*uint16)(unsafe.Pointer(&r[16])) = flags
	if err := configure(syscall.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("flags of %s: %w", name, err)
	}
	return nil
}

func setAddress(name, address, mask string) error {
	if err := configure(syscall.SIOCSIFADDR, withAddress(name, address)); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	if err := configure(syscall.SIOCSIFNETMASK, withAddress(name, mask)); err != nil {
		return fmt.Errorf("netmask of %s: %w", name, err)
	}
	return nil
}

func withAddress(name, text string) ifreq {
	r := request(name)
	*(*uint16)(unsafe.Pointer(&r[16])) = syscall.AF_INET
	four := netip.MustParseAddr(text).As4()
	copy(r[20:24], four[:])
	return r
}
