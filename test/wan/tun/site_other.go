//go:build !linux

package tun

import (
	"net/netip"

	"github.com/skeinmesh/skein/test/wan"
)

// Site is a place of the emulated network; there are none on this system.
type Site struct{}

// Open returns ErrUnsupported.
func Open(*wan.Emulator, ...string) (map[string]*Site, error) { return nil, ErrUnsupported }

// Addr is never called: there is no Site.
func (s *Site) Addr() netip.Addr { return netip.Addr{} }

// Do is never called.
func (s *Site) Do(func() error) error { return ErrUnsupported }

// Congestion is never called.
func (s *Site) Congestion(string) error { return ErrUnsupported }

// SetMTU is never called.
func (s *Site) SetMTU(int) error { return ErrUnsupported }

// Close is never called.
func (s *Site) Close() error { return nil }
