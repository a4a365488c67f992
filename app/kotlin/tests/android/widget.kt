package android.widget

import android.view.View

open class TextView(context: Any) : View(context) {
    open var text: CharSequence = ""
    fun setTextIsSelectable(selectable: Boolean) {}
}

class EditText(context: Any) : TextView(context) { fun setText(text: String) {} }

class Button(context: Any) : TextView(context)

class LinearLayout(context: Any) : View(context) {
    var orientation = 0
    fun addView(view: View) {}

    companion object { const val VERTICAL = 1 }
}

class ScrollView(context: Any) : View(context) { fun addView(view: View) {} }
