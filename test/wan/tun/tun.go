// Package tun is an emulated wide-area network for programs that know nothing
// of it: each site is a network namespace with a TUN device, and what leaves
// one device as an IPv4 packet (TCP, UDP, whatever) arrives at another under the
// conditions of a wan.Emulator. So a broker that talks TCP can be measured on
// the same link as one that talks UDP.
//
//	e := wan.New(1)
//	sites, err := tun.Open(e, "eu", "us")
//	e.SetBoth("eu", "us", wan.Conditions{Delay: 40 * time.Millisecond})
//	err = sites["eu"].Do(server.Start)           // an exec.Cmd
//	err = sites["us"].Do(func() (err error) { conn, err = net.Dial("tcp", addr); return err })
//
// It needs Linux, and the right to make namespaces and devices, as root has;
// otherwise Open's error is ErrUnsupported. Namespaces have no name: they, and
// the devices in them, are gone when the site is closed and the last process
// and socket in it has ended, however the program that made them ends.
//
// TCP is the host's, with the congestion control that is set there unless a
// site is told another: on a link that loses packets much depends on it, so a
// measurement should say which it was.
//
// Goroutines: a site has one, which reads its device. Close waits for it.
package tun

import "errors"

// ErrUnsupported is wrapped by errors of Open where there can be no sites.
var ErrUnsupported = errors.New("tun: no network namespaces with TUN devices here")

// MTU of the devices, in bytes, until it is set.
const MTU = 1500

// device is what each site's is called; each is in a namespace of its own.
const device = "wan0"
