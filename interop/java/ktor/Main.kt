import io.ktor.client.HttpClient
import io.ktor.client.HttpClientConfig
import io.ktor.client.engine.cio.CIO
import io.ktor.client.engine.okhttp.OkHttp
import io.ktor.client.plugins.sse.SSE
import io.ktor.client.plugins.sse.sse
import io.ktor.client.plugins.websocket.WebSockets
import io.ktor.client.plugins.websocket.webSocket
import io.ktor.client.request.header
import io.ktor.websocket.Frame
import io.ktor.websocket.readText
import kotlinx.coroutines.runBlocking

/** Words: the transport, the engine (`cio` or `okhttp`), and `reconnects`, without which SSE ends at each break. */
object Main {
    @JvmStatic
    fun main(words: Array<String>) {
        val settings: HttpClientConfig<*>.() -> Unit = {
            install(WebSockets)
            install(SSE) { if ("reconnects" in words) maxReconnectionAttempts = Int.MAX_VALUE }
        }
        val client = if ("okhttp" in words) HttpClient(OkHttp, settings) else HttpClient(CIO, settings)
        Driver.run { url, token ->
            runBlocking { if (words[0] == "sse") client.listen(url) else client.connect(url, token) }
        }
    }

    private suspend fun HttpClient.listen(url: String) {
        sse(url) {
            Driver.opened()
            incoming.collect { event -> Driver.message(event.data.orEmpty(), event.id) }
        }
        Driver.end("the block ended")
    }

    private suspend fun HttpClient.connect(url: String, token: String) {
        val protocols = Driver.protocols(token).joinToString(", ")
        webSocket(url, { header("Sec-WebSocket-Protocol", protocols) }) {
            Driver.opened()
            for (frame in incoming) if (frame is Frame.Text) Driver.message(frame.readText(), null)
            Driver.end("closed with ${closeReason.await()}")
        }
    }
}
