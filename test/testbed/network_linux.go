package testbed

import (
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// loopbackUp brings lo up, which gives it 127.0.0.0/8.
func loopbackUp() error {
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	return control(func(fd int) error {
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
			return fmt.Errorf("read the flags of lo: %w", err)
		}
		ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
			return fmt.Errorf("bring lo up: %w", err)
		}
		return nil
	})
}

// adding keeps clusters that start at once apart: an address starts out as 10.0.0.0/8, where a second one is
// secondary to the first and goes with it when that gets its own mask.
//
//nolint:gochecknoglobals // the interface is one for the process too
var adding sync.Mutex

// addHosts gives lo a /16 under an alias. On a loopback interface the kernel takes every address of a prefix as its
// own, so that a test can listen on any of them.
func addHosts(alias string, prefix netip.Prefix) error {
	address, err := unix.NewIfreq(alias)
	if err != nil {
		return err
	}
	if err := address.SetInet4Addr(prefix.Addr().AsSlice()); err != nil {
		return err
	}
	mask, err := unix.NewIfreq(alias)
	if err != nil {
		return err
	}
	if err := mask.SetInet4Addr([]byte{255, 255, 0, 0}); err != nil {
		return err
	}
	adding.Lock()
	defer adding.Unlock()
	return control(func(fd int) error {
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, address); err != nil {
			return fmt.Errorf("add %s to lo: %w", prefix, err)
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, mask); err != nil {
			return fmt.Errorf("widen %s on lo: %w", prefix, err)
		}
		return nil
	})
}

// control runs f with a socket that takes interface requests.
func control(f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}
