// A page in Go: says that it is connected, hears 200 events, and asks for an acknowledgement.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/zishang520/socket.io/clients/engine/v3/transports"
	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

const events = 200

func main() {
	origin, transport := os.Args[1], os.Args[2]
	options := socket.DefaultOptions()
	options.SetAuth(map[string]any{"user": "alice", "topics": []string{"room:go-" + transport}})
	switch transport {
	case "polling":
		options.SetTransports(types.NewSet(transports.Polling))
	case "websocket":
		options.SetTransports(types.NewSet(transports.WebSocket))
	}
	client, err := socket.Connect(origin, options)
	if err != nil {
		log.Fatal(err)
	}
	heard := make(chan float64, 2*events)
	client.On("connect", func(...any) { fmt.Println("connected") })
	client.On("connect_error", func(why ...any) { log.Println(why...) })
	client.On("m", func(arguments ...any) {
		heard <- arguments[0].(map[string]any)["n"].(float64)
	})
	deadline := time.After(2 * time.Minute)
	numbers := []float64{}
	for len(numbers) < events {
		select {
		case n := <-heard:
			numbers = append(numbers, n)
		case <-deadline:
			log.Fatalf("heard %d events in time", len(numbers))
		}
	}
	acknowledged := make(chan any, 1)
	client.Emit("ping", map[string]any{}, func(arguments []any, err error) {
		if err == nil && len(arguments) > 0 {
			acknowledged <- arguments[0]
		}
	})
	select {
	case ack := <-acknowledged:
		text, _ := json.Marshal(map[string]any{"heard": numbers, "ack": ack})
		fmt.Println(string(text))
	case <-deadline:
		log.Fatal("no acknowledgement in time")
	}
	client.Disconnect()
}
