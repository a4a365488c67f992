package android.app

import android.content.res.AssetManager
import android.os.Bundle
import android.view.View
import java.io.File

open class Activity {
    val assets = AssetManager()
    open fun onCreate(savedInstanceState: Bundle?) {}
    open fun onDestroy() {}
    fun setContentView(view: View) {}
    fun getExternalFilesDir(type: String?): File? = null
}
