package demo

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import autotinybert.AutotinybertException
import autotinybert.Model
import autotinybert.measure
import autotinybert.open
import java.io.File
import java.io.IOException
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/** Asks the bundle about what is typed, and measures it on this device. */
class MainActivity : Activity() {
    private val scope = MainScope()
    private var model: Model? = null
    private lateinit var output: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val input = EditText(this)
        input.setText("The battery lasts two days.")
        val ask = Button(this)
        ask.text = "Ask"
        ask.setOnClickListener { show { answers(opened(), listOf(input.text.toString())) } }
        val time = Button(this)
        time.text = "Measure"
        time.setOnClickListener { show { measured() } }
        output = TextView(this)
        output.setTextIsSelectable(true)
        val column = LinearLayout(this)
        column.orientation = LinearLayout.VERTICAL
        listOf(input, ask, time, output).forEach { column.addView(it) }
        val scroll = ScrollView(this)
        scroll.addView(column)
        setContentView(scroll)
    }

    override fun onDestroy() {
        // Ends the calls that are running.
        scope.cancel()
        model?.close()
        super.onDestroy()
    }

    /** The model, which is loaded the first time and runs once before it is asked. */
    private suspend fun opened(): Model = model ?: Model.open(assets, BUNDLE).also {
        model = it
        it.warmUp()
    }

    /** The latency; `adb pull` gets the record for `atb bench --compare`. */
    private suspend fun measured(): String {
        val measurement = measure(assets, BUNDLE)
        val record = File(getExternalFilesDir(null), "app-record.jsonl")
        record.writeText(measurement.record)
        return "%.3f ms\n%s".format(measurement.latencyMs, record.path)
    }

    /** Shows what [work] gives, without ever holding up the main thread. */
    private fun show(work: suspend () -> String) {
        output.text = "..."
        scope.launch {
            output.text = try {
                work()
            } catch (failure: AutotinybertException) {
                "${failure.message}\n${failure.help ?: ""}"
            } catch (failure: IOException) {
                failure.toString()
            }
        }
    }

    private companion object {
        /** The asset, which the library brings along. */
        const val BUNDLE = "bundle.atb"
    }
}
