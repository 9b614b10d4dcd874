#!/usr/bin/env bash
# github.com/coder/websocket v1.8.15 and golang.org/x/net/websocket v0.62.0, Go 1.26.
#
# RFC 6455 section 5.4: a message ends with the frame whose FIN bit is set. x/net hands over each fragment
# as a message of its own. When the connection ends before the final fragment, coder/websocket hands over
# the fragments so far as a message with a nil error; when it ends inside a frame, x/net does the
# same with the bytes so far. A server that wants whole messages sends each in one frame, and a reader
# that may be cut needs an end mark in the message itself, as JSON has.
set -euo pipefail
directory=$(mktemp -d) && trap 'chmod -R u+w "$directory"; rm -rf "$directory"' EXIT && cd "$directory"
cat > go.mod <<'MOD'
module finding

go 1.24
MOD
cat > main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"

	coder "github.com/coder/websocket"
	xnet "golang.org/x/net/websocket"
)

// Accepts one WebSocket, sends the bytes, and closes the connection without a close frame.
func serve(bytes []byte) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		connection, err := listener.Accept()
		check(err)
		request, err := http.ReadRequest(bufio.NewReader(connection))
		check(err)
		key := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(key[:]))
		connection.Write(bytes)
		connection.Close()
	}()
	return "ws://" + listener.Addr().String() + "/"
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	first, last := "\x01\x03abc", "\x80\x03def"
	connection, _, err := coder.Dial(context.Background(), serve([]byte(first)), nil)
	check(err)
	_, message, err := connection.Read(context.Background())
	fmt.Printf("coder, final fragment missing: %q, error %v\n", message, err)

	var text string
	whole, err := xnet.Dial(serve([]byte(first+last)), "", "http://localhost/")
	check(err)
	for range 2 {
		err = xnet.Message.Receive(whole, &text)
		fmt.Printf("x/net, message of two fragments: %q, error %v\n", text, err)
	}
	cut, err := xnet.Dial(serve([]byte("\x81\x06abc")), "", "http://localhost/")
	check(err)
	err = xnet.Message.Receive(cut, &text)
	fmt.Printf("x/net, cut inside a frame: %q, error %v\n", text, err)
}
GO
GOFLAGS=-mod=mod GOPATH="$directory/go" go get github.com/coder/websocket@v1.8.15 golang.org/x/net@v0.62.0 2>/dev/null
GOFLAGS=-mod=mod GOPATH="$directory/go" go run . | tee seen
diff seen - <<'SEEN'
coder, final fragment missing: "abc", error <nil>
x/net, message of two fragments: "abc", error <nil>
x/net, message of two fragments: "def", error <nil>
x/net, cut inside a frame: "abc", error <nil>
SEEN
